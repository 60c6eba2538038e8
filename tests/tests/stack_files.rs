//! Stack files: variables, selection, restarts, and what is said of faulty ones.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::{Process, TIMEOUT, TestEnv, isolated, redis};
use rustix::process::{Pid, Signal, kill_process};

const REDIS: &str = "redis-server --port {port} --bind 127.0.0.1 --save ''";

fn up(env: &TestEnv, file: &str, arguments: &[&str]) -> Result<Process> {
    env.write("portolan.yaml", file)?;
    env.portolan(&["up"])?.args(arguments).spawn("up")
}

/// Returns the process of the Redis server on this port.
fn redis_process(port: u16) -> Result<Pid> {
    let mut ask = Command::new("redis-cli");
    let answer = ask.args(["-p", &port.to_string(), "info", "server"]).output()?.stdout;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let pid = answer.lines().find_map(|line| line.trim().strip_prefix("process_id:"));
    let pid = pid.with_context(|| answer.clone())?.parse()?;
    Pid::from_raw(pid).context("not a process id")
}

#[test]
fn variables_come_from_the_environment_the_files_and_the_needs() {
    isolated(|env| {
        let file = format!(
            "\
name: shop-${{STAGE}}
x-common: &common
  env: {{COLOUR: \"${{COLOUR:-red}}\", STAGE: \"${{STAGE}}\"}}
services:
  cache: {{command: \"{REDIS}\", port: \"${{CACHE_PORT}}\"}}
  show:
    <<: *common
    x-note: ignored
    command: sh show
    port: none
    env_file: [extra.env, {{path: absent.env, required: false}}]
    needs: [cache]
"
        );
        env.write(".env", "CACHE_PORT=6391\nSTAGE=overridden\n")?;
        env.write("extra.env", "# more\nSHADE='dark blue'\nCOLOUR=blue\n")?;
        env.write("show", "echo \"show: $STAGE $COLOUR $SHADE $CACHE_PORT $PORTOLAN_SCOPE\"")?;
        env.write("portolan.yaml", &file)?;
        // The file is found from a directory below it.
        let below = env.folder("src/deep")?;
        let up = env.portolan(&["up"])?.directory(&below).env("STAGE", "test");
        let mut up = up.spawn("up")?;
        up.wait_for_line("show: test red dark blue 6391 shop-test")?;
        redis::ping(6391)?;
        let listed = env.portolan(&["list", "--json"])?.directory(&below).env("STAGE", "test");
        ensure!(listed.run()?.text()?.contains("shop-test"));
        up.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn file_above_a_directory_that_others_can_change_is_not_used() {
    isolated(|env| {
        env.write("portolan.yaml", "services: {a: {command: x}}")?;
        let below = env.folder("open/src")?;
        let check = || env.portolan(&["config", "check"])?.directory(&below).run()?.text();
        ensure!(check()?.contains("its stack has 1 services"));
        std::fs::set_permissions(env.folder("open")?, Permissions::from_mode(0o777))?;
        ensure!(check()?.contains("no configuration file"));
        Ok(())
    });
}

/// `config check` and `up` refuse a file for the same reasons, all of which they tell.
#[test]
fn faulty_file_is_refused_with_all_its_errors() {
    isolated(|env| {
        let file = "\
services:
  a: {command: x, port: 0, comand: y, directory: absent}
  b: {command: x, env_file: absent.env, restart: sometimes}
  c:
    command: run ${UNSET} $${HOME}
    needs: {d: completed}
  d: {command: x, restart: always}
";
        env.write("portolan.yaml", file)?;
        let mut texts = Vec::new();
        for command in [&["config", "check"][..], &["up"]] {
            let output = env.portolan(command)?.run()?.exits(2)?;
            for (line, expected) in [
                (2, "services.a.port: expected a port"),
                (2, "services.a.comand: unknown key; did you mean `command`?"),
                (3, "services.b.restart: unknown restart policy"),
                (5, "services.c.command: the variable UNSET is not set"),
                (6, "services.c.needs: d never completes"),
            ] {
                let is_told = |text: &str| {
                    text.contains(&format!("portolan.yaml:{line}:")) && text.contains(expected)
                };
                ensure!(output.stderr.lines().any(is_told), "{expected}: {output:?}");
            }
            texts.push(output.stderr);
        }
        ensure!(texts[0] == texts[1], "{texts:?}");
        Ok(())
    });
}

#[test]
fn names_that_differ_in_case_only_are_refused() {
    isolated(|env| {
        for (file, place) in [
            (
                "services:\n  Db: {command: x}\n  db: {command: y}\n",
                "portolan.yaml:3:3: services.db",
            ),
            ("discovery: {endpoints: {Db: \"h:1\", db: \"h:2\"}}", "discovery.endpoints"),
            ("discovery: {default_ports: {Db: 1, db: 2}}", "discovery.default_ports"),
        ] {
            env.write("portolan.yaml", file)?;
            let refused = env.portolan(&["config", "check"])?.run()?.exits(2)?.stderr;
            ensure!(refused.contains(place), "{file}: {refused}");
            ensure!(refused.contains("upper and lower case do not differ"), "{file}: {refused}");
        }
        let needs = "services: {a: {command: x, needs: {b: ready, B: ready}}, b: {command: y}}";
        env.write("portolan.yaml", needs)?;
        let refused = env.portolan(&["config", "check"])?.run()?.exits(2)?.stderr;
        ensure!(refused.contains("services.a.needs"), "{refused}");
        Ok(())
    });
}

/// A file of variables for another way to start the program often has the fixed port of that way.
#[test]
fn leased_port_precedes_the_one_of_a_file_with_variables() {
    isolated(|env| {
        let file = "services: {a: {command: sh show, port: 6100, ports: {debug: 6200}, env_file: fixed.env, handoff: number}}";
        env.write("portolan.yaml", file)?;
        env.write("fixed.env", "PORT=9999\nPORT_DEBUG=9998\nOTHER=kept\n")?;
        env.write("show", "echo \"ports $PORT $PORT_DEBUG $OTHER\"; sleep 1000")?;
        let mut up = env.portolan(&["up"])?.spawn("up")?;
        up.wait_for_line("ports 6100 6200 kept")?;
        up.wait_for_line("the leased port precedes it")?;
        up.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn missing_directories_and_files_are_known_before_anything_starts() {
    isolated(|env| {
        let file = "services: {a: {command: x, directory: absent}, b: {command: x, env_file: absent.env}, c: {command: x, env_file: bad.env}}";
        env.write("portolan.yaml", file)?;
        env.write("bad.env", "A=b\nno variable\n")?;
        for command in [&["config", "check"][..], &["up"]] {
            let output = env.portolan(command)?.run()?.exits(2)?;
            for expected in [
                "services.a.directory: there is no directory absent",
                "services.b.env_file: cannot read absent.env",
                "services.c.env_file: bad.env:2: not a variable",
            ] {
                ensure!(output.stderr.contains(expected), "{expected}: {output:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn killed_server_is_started_again_and_found_again() {
    isolated(|env| {
        let file = format!(
            "services: {{cache: {{command: \"{REDIS}\", port: 6391, restart: {{policy: on-failure, backoff: 100ms}}}}}}"
        );
        let mut up = up(env, &file, &[])?;
        let find = || env.portolan(&["discover", "cache"])?.run()?.text();
        up.wait_until("it to be found", find)?;
        let first = redis_process(6391)?;
        kill_process(first, Signal::KILL)?;
        up.wait_for_line("restart 1 follows: exit status 137")?;
        up.wait_until("another Redis to respond", || {
            redis::ping(6391)?;
            ensure!(redis_process(6391)? != first);
            Ok(())
        })?;
        up.wait_until("it to be found again", find)?;
        up.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn server_that_no_longer_responds_is_replaced() {
    isolated(|env| {
        let file = format!(
            "\
services:
  cache:
    command: \"{REDIS}\"
    port: 6391
    grace: 200ms
    health: {{check: 'command:redis-cli -p {{port}} ping', interval: 200ms, timeout: 1s, failures_before_critical: 2}}
    restart: {{policy: on-failure, backoff: 100ms}}
"
        );
        let mut up = up(env, &file, &[])?;
        up.wait_until("Redis to respond", || redis::ping(6391))?;
        let first = redis_process(6391)?;
        up.wait_until("it to be healthy", || {
            let found = env.portolan(&["discover", "cache"])?.run()?;
            found.text()
        })?;
        // It keeps its port, and the kernel accepts connections for it.
        kill_process(first, Signal::STOP)?;
        up.wait_for_line("restart 1 follows: its health check is critical")?;
        up.wait_until("another Redis to respond", || redis::ping(6391))?;
        up.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn stop_command_comes_before_the_signal() {
    isolated(|env| {
        let file = format!(
            "\
services:
  cache:
    command: {REDIS}
    port: 6391
    stop_command: [sh, -c, 'echo stopping $MAINPID on {{port}}; exec redis-cli -p {{port}} shutdown save']
  deaf:
    command: sh -c 'trap \"echo got the signal; exit 0\" TERM; while :; do sleep 0.1; done'
    port: none
    stop_command: sh -c 'echo cannot; exit 3'
  slow: {{command: sleep 1000, port: none, grace: 1s, stop_command: sleep 1001}}
"
        );
        let mut up = up(env, &file, &[])?;
        up.wait_until("Redis", || redis::ping(6391))?;
        let redis = redis_process(6391)?;
        for service in ["deaf", "slow"] {
            up.wait_for_line(&format!("{service:<12} * pid "))?;
        }
        let ended = up.terminate()?.exits(0)?;
        let output = up.output();
        let pid = redis.as_raw_nonzero();
        for line in [
            format!("cache        | stopping {pid} on 6391"),
            "deaf         | cannot".to_owned(),
            "deaf         | got the signal".to_owned(),
            "service_name=deaf reason=\"exit status 3\" signal=SIGTERM".to_owned(),
            "service_name=slow reason=\"it did not end in time\"".to_owned(),
        ] {
            ensure!(output.contains(&line), "{line:?} is not in {output}{ended:?}");
        }
        // It saves nothing after a signal.
        ensure!(env.directory().join("dump.rdb").exists(), "{output}");
        let left = env.processes()?.into_iter().find(|(_, command)| command.contains("sleep 100"));
        ensure!(left.is_none(), "{left:?}");
        // There is no socket of the program in it.
        let file =
            format!("services: {{cache: {{command: \"{REDIS}\", stop_command: 'x {{fd}}'}}}}");
        env.write("portolan.yaml", &file)?;
        let checked = env.portolan(&["config", "check"])?.run()?.exits(2)?;
        ensure!(checked.stderr.contains("services.cache.stop_command"), "{}", checked.stderr);
        Ok(())
    });
}

#[test]
fn only_the_named_services_start_with_what_they_need() {
    isolated(|env| {
        let file = format!(
            "services: {{cache: {{command: \"{REDIS}\", port: 6391}}, api: {{command: sh -c 'echo api has $CACHE_PORT; exec sleep 1000', port: none, needs: [cache]}}, other: {{command: touch started, port: none}}}}"
        );
        let mut up = up(env, &file, &["api"])?;
        up.wait_for_line("api has 6391")?;
        let output = up.terminate()?.exits(0)?;
        ensure!(!output.stdout.contains("other"), "{output:?}");
        ensure!(!env.directory().join("started").exists());
        let unknown = env.portolan(&["up", "portolan.yaml", "apy"])?.run()?.exits(2)?;
        ensure!(unknown.stderr.contains("did you mean `api`?"), "{unknown:?}");
        Ok(())
    });
}

#[test]
fn failure_ends_the_stack_with_its_status() {
    isolated(|env| {
        let file = format!(
            "services: {{cache: {{command: \"{REDIS}\", port: 6391}}, test: {{command: sh -c 'exit 7', port: none, needs: [cache]}}}}"
        );
        let mut up = up(env, &file, &["--abort-on-failure"])?;
        let output = up.wait(TIMEOUT)?.exits(7)?;
        ensure!(redis::ping(6391).is_err(), "{output:?}");
        Ok(())
    });
}

#[test]
fn address_of_a_need_stands_in_commands_and_variables() {
    isolated(|env| {
        let file = format!(
            "\
services:
  cache: {{command: \"{REDIS}\", port: 6391, protocol: redis}}
  ask:
    command: redis-cli -u {{cache.url}} set asked yes
    port: none
    needs: [cache]
  answer:
    command: echo \"$ADDRESS $(redis-cli -h $CACHE_HOST -p {{cache.port}} get asked)\" && sleep 1000
    shell: true
    port: none
    env: {{ADDRESS: \"at {{cache.host}}:{{cache.port}}\"}}
    needs: {{cache: ready, ask: completed}}
"
        );
        let mut up = up(env, &file, &[])?;
        up.wait_for_line("at 127.0.0.1:6391 yes")?;
        up.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn words_of_compose_and_of_shells_are_answered_with_those_of_this_file() {
    isolated(|env| {
        for (keys, expected) in [
            ("command: x, depends_on: [db]", "use needs"),
            ("command: x, environment: {A: b}", "use env"),
            ("image: redis", "docker run"),
            ("command: x, working_dir: web", "use directory"),
            ("command: x, ports: ['8080:80']", "use port: 8080"),
            ("command: cd web && npm run dev", "set directory, or set shell: true"),
            ("command: A=b npm run dev", "set the variable under env"),
            ("command: npm install && npm start", "set shell: true"),
            ("command: server --port $PORT", "use {port}"),
            ("command: 'server {dbb.url}'", "add db to needs"),
            ("command: 'server {db.url}'", "add db to needs"),
        ] {
            let file = format!("services: {{db: {{command: x}}, web: {{{keys}}}}}");
            env.write("portolan.yaml", &file)?;
            for command in [&["config", "check"][..], &["up"]] {
                let output = env.portolan(command)?.run()?.exits(2)?;
                ensure!(output.stderr.contains(expected), "{keys}: {output:?}");
            }
        }
        env.write("portolan.yaml", "version: '3'\nservices: {web: {command: x}}")?;
        let output = env.portolan(&["config", "check"])?.run()?.exits(2)?;
        ensure!(output.stderr.contains("version: remove it"), "{output:?}");
        Ok(())
    });
}

/// The stack of docs/stack.md, as it is written there.
#[test]
fn documented_stack_starts() {
    isolated(|env| {
        let page = include_str!("../../docs/stack.md");
        let file = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
        let file = file.context("no file in docs/stack.md")?;
        let mut up = up(env, file, &[])?;
        up.wait_for_line("migrated")?;
        up.wait_until("the API to be found", || {
            let found = env.portolan(&["discover", "api"])?.run()?.text()?;
            ensure!(found.contains("8080"), "{found}");
            Ok(())
        })?;
        up.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn program_runs_under_its_user() {
    isolated(|env| {
        let is_root = rustix::process::geteuid().is_root();
        let user = if is_root { "nobody" } else { "root" };
        let file = format!(
            "services: {{a: {{command: sh -c 'echo I am $(id -un) $(id -Gn) $HOME $USER', port: none, user: {user}}}}}"
        );
        env.write("portolan.yaml", &file)?;
        let output = env.portolan(&["up"])?.run()?;
        match is_root {
            true => ensure!(
                output.stdout.contains("I am nobody nogroup /nonexistent nobody"),
                "{output:?}"
            ),
            false => ensure!(output.stderr.contains("services.a.user: only root"), "{output:?}"),
        }
        env.write("portolan.yaml", "services: {a: {command: x, user: no-such-user}}")?;
        let check = env.portolan(&["config", "check"])?.run()?.exits(2)?;
        ensure!(check.stderr.contains("services.a.user: there is no user"), "{check:?}");
        Ok(())
    });
}

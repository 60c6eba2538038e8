//! Stack files: variables, selection, restarts, and what is said of faulty ones.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::{Process, TIMEOUT, TestEnv, isolated, redis};
use rustix::process::{Pid, Signal, kill_process};

const REDIS: &str = "redis-server --port {port} --bind 127.0.0.1 --save ''";

fn up(env: &TestEnv, file: &str, arguments: &[&str]) -> Result<Process> {
    env.write("portolan.yaml", file)?;
    env.portolan(&["up"])?.args(arguments).spawn("up")
}

/// Returns the process of the Redis server on this port.
fn redis_process(env: &TestEnv, port: u16) -> Result<Pid> {
    let listens = format!("127.0.0.1:{port}");
    let processes = env.processes()?;
    let found = processes
        .iter()
        .find(|(_, line)| line.starts_with("redis-server") && line.contains(&listens));
    let (pid, _) = found.with_context(|| format!("no Redis in {processes:?}"))?;
    Pid::from_raw(pid.cast_signed()).context("not a process id")
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
fn file_above_the_home_directory_is_not_used() {
    isolated(|env| {
        env.write("portolan.yaml", "services: {a: {command: x}}")?;
        let home = env.folder("home/src")?;
        let home = home.parent().context("no parent")?.to_owned();
        let check = |directory: &PathBuf| {
            let home = home.to_str().context("no text")?;
            env.portolan(&["config", "check"])?.directory(directory).env("HOME", home).run()?.text()
        };
        ensure!(check(&home.join("src"))?.contains("no configuration file"));
        env.write("home/portolan.yaml", "services: {a: {command: x}}")?;
        ensure!(check(&home.join("src"))?.contains("its stack has 1 services"));
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
                (3, "services.b.restart: no, on-failure"),
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
        up.wait_until("Redis to respond", || redis::ping(6391))?;
        let first = redis_process(env, 6391)?;
        kill_process(first, Signal::KILL)?;
        up.wait_for_line("restart 1 follows: exit status 137")?;
        up.wait_until("another Redis to respond", || {
            redis::ping(6391)?;
            ensure!(redis_process(env, 6391)? != first);
            Ok(())
        })?;
        up.wait_until("it to be found", || env.portolan(&["discover", "cache"])?.run()?.text())?;
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
        let first = redis_process(env, 6391)?;
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

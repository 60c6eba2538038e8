//! `portolan render` with the templates in `examples/render` and the servers that read their output.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::postgres::{Postgres, data_directory_at};
use portolan_tests::{Process, REGISTRY, TIMEOUT, TestEnv, http, isolated, servers, wait_for};
use serde_json::{Value, json};

const PROXY: &str = "http://127.0.0.1:8088/";
/// What nginx logs when it reads its file again.
const RELOAD: &str = "(SIGHUP) received";

/// Copies a template of the examples into the test's directory, so that a test can change it.
fn template(env: &TestEnv, name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/render").join(name);
    env.write(name, &fs::read_to_string(&path).with_context(|| path.display().to_string())?)
}

fn backend(env: &TestEnv, options: &[&str]) -> Result<Process> {
    env.service("api", options, &servers::axum()?)
}

/// Registers two instances of `api` again and again in one request, each time with another version, the last of which is `last`.
fn burst(ports: [u16; 2], changes: u32) -> Result<()> {
    let operation = |number: u32| {
        let port = ports[number as usize % 2];
        let id = format!("burst-{port}");
        let service = json!({"name": "api", "id": id, "host": "127.0.0.1", "port": port, "version": format!("v{number}"), "ttl": 3600});
        json!({"op": "register", "service": service})
    };
    let operations: Vec<Value> = (0..changes).map(operation).collect();
    let request = http::client()?.post(format!("{REGISTRY}/api/v1/batch"));
    let body = json!({"operations": operations}).to_string();
    let answer = request.header("content-type", "application/json").body(body).send()?;
    ensure!(answer.status().is_success(), "{answer:?}");
    Ok(())
}

fn contains(path: &Path, part: &str) -> Result<()> {
    let text = fs::read_to_string(path)?;
    ensure!(text.contains(part), "{part:?} is missing in\n{text}");
    Ok(())
}

/// Sends requests to the proxy until `work` is done, and fails if one of them has failed.
fn under_requests(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| -> Result<u32> {
            let mut answered = 0;
            while !is_done.load(Ordering::Relaxed) {
                http::get(PROXY).with_context(|| format!("after {answered} answers"))?;
                answered += 1;
            }
            Ok(answered)
        });
        let worked = work();
        is_done.store(true, Ordering::Relaxed);
        let answered = client.join().expect("the client does not panic")?;
        worked?;
        ensure!(answered > 0, "no request was sent");
        Ok(())
    })
}

#[test]
fn nginx_reloads_once_for_a_burst_and_never_reads_a_file_that_it_rejects() {
    isolated(|env| {
        let _registry = env.registry()?;
        let ports = [9201, 9202];
        let mut backends = Vec::new();
        for port in ports {
            let mut command = Command::new(&servers::axum()?[0]);
            command.env("PORT", port.to_string());
            backends.push(env.spawn("backend", command)?);
        }
        for port in ports {
            wait_for("the backend", || http::get(&format!("http://127.0.0.1:{port}/")).map(drop))?;
        }
        burst(ports, 2)?;
        let template = template(env, "nginx.conf.j2")?;
        let [output, pid] = ["nginx.conf", "nginx.pid"].map(|name| env.directory().join(name));
        let nginx = servers::program("nginx", "nginx")?.display().to_string();
        let check = format!("{nginx} -t -q -e stderr -c {{file}}");
        let words = ["render", &template.to_string_lossy(), "-o", &output.to_string_lossy()];
        let render = || {
            Ok::<_, anyhow::Error>(
                env.portolan(&words)?
                    .args(&["--check", &check])
                    .env("NGINX_PID", &pid.to_string_lossy()),
            )
        };
        render()?.run()?.exits(0)?;
        let mut command = Command::new(&nginx);
        command.args(["-e", "stderr", "-c"]).arg(&output);
        let mut server = env.spawn("nginx", command)?;
        server.wait_until("nginx", || http::get(PROXY))?;
        let options = [
            "--watch",
            "--debounce",
            "2s",
            "--signal",
            "HUP",
            "--pid-file",
            &pid.to_string_lossy(),
        ];
        let mut watcher = render()?.args(&options).spawn("render")?;
        let reloads = |server: &Process| server.stderr().matches(RELOAD).count();

        under_requests(|| {
            burst(ports, 100)?;
            wait_for("the last change", || contains(&output, "# v99"))?;
            server.wait_for_line(RELOAD).map(drop)
        })?;
        ensure!(reloads(&server) == 1, "nginx has reloaded {} times", reloads(&server));

        let good = fs::read_to_string(&template)?;
        let accepted = fs::read_to_string(&output)?;
        under_requests(|| {
            fs::write(&template, good.replace("events {}", "events {} bogus;"))?;
            let line = watcher.wait_for_line("rejects the new")?;
            ensure!(line.contains("former file stays"), "{line}");
            watcher.wait_for_line("unknown directive \\\"bogus\\\"").map(drop)
        })?;
        ensure!(fs::read_to_string(&output)? == accepted, "the file was replaced");
        ensure!(reloads(&server) == 1, "nginx has reloaded");

        under_requests(|| {
            fs::write(&template, good.replace("events {}", "events {} # corrected"))?;
            wait_for("the corrected file", || contains(&output, "# corrected"))
        })?;
        wait_for("the second reload", || {
            ensure!(reloads(&server) == 2, "{} reloads", reloads(&server));
            Ok(())
        })?;
        watcher.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn program_of_a_stack_reads_its_file_again_when_a_service_changes() {
    isolated(|env| {
        let api = servers::axum()?.join(" ");
        template(env, "nginx.conf.j2")?;
        let pid = env.directory().join("nginx.pid");
        let nginx = servers::program("nginx", "nginx")?.display().to_string();
        let output = env.directory().join("nginx.conf");
        let stack = format!(
            "name: demo
services:
  api: {{command: '{api}', health: tcp}}
  proxy:
    command: '{nginx} -e stderr -c {output}'
    port: 8088
    strict: true
    needs: [api]
    files:
      - {{template: nginx.conf.j2, output: nginx.conf, check: '{nginx} -t -q -e stderr -c {{file}}', signal: HUP}}
",
            output = output.display()
        );
        env.write("portolan.yaml", &stack)?;
        env.portolan(&["config", "check"])?.run()?.exits(0)?;
        let up = || env.portolan(&["up"])?.env("NGINX_PID", &pid.to_string_lossy()).spawn("up");
        let mut stack = up()?;
        stack.wait_until("nginx", || http::get(PROXY))?;
        ensure!(!stack.stdout().contains(RELOAD), "nginx was told of the file that it began with");
        let mut second = env.service("api", &["--scope", "demo"], &servers::axum()?)?;
        under_requests(|| {
            wait_for("both instances", || {
                let servers = fs::read_to_string(&output)?.matches("    server 127").count();
                ensure!(servers == 2, "{servers} servers");
                ensure!(stack.stdout().contains(RELOAD), "nginx has not reloaded");
                Ok(())
            })?;
            second.terminate()?.exits(0).map(drop)
        })?;
        stack.terminate()?.exits(0)?;

        // A file that is not accepted fails the service before it starts.
        env.write("nginx.conf.j2", "bogus;\n")?;
        fs::remove_file(&output)?;
        let mut stack = up()?;
        stack.wait_for_line("rejects the new")?;
        stack.terminate()?;
        ensure!(!output.exists(), "the rejected file was written");
        Ok(())
    });
}

#[test]
fn haproxy_balances_the_instances() {
    isolated(|env| {
        let _registry = env.registry()?;
        let _backends = [backend(env, &[])?, backend(env, &[])?];
        env.wait_registered("api", 2, TIMEOUT)?;
        let template = template(env, "haproxy.cfg.j2")?;
        let output = env.directory().join("haproxy.cfg");
        let haproxy = servers::program("haproxy", "haproxy")?.display().to_string();
        let check = format!("{haproxy} -c -q -f {{file}}");
        let words = [
            "render",
            &template.to_string_lossy(),
            "-o",
            &output.to_string_lossy(),
            "--check",
            &check,
            "--wait",
            "--json",
        ];
        let written = env.portolan(&words)?.run()?.exits(0)?.json()?;
        ensure!(written["written"] == true, "{written}");
        let again = env.portolan(&words)?.run()?.exits(0)?.json()?;
        ensure!(again["written"] == false, "{again}");
        let mut command = Command::new(&haproxy);
        command.args(["-db", "-f"]).arg(&output);
        let mut server = env.spawn("haproxy", command)?;
        server.wait_until("haproxy", || http::get(PROXY))?;
        let servers = fs::read_to_string(&output)?.matches("\n  server ").count();
        ensure!(servers == 2, "{servers} servers");
        Ok(())
    });
}

#[test]
fn envoy_follows_instances_without_a_restart() {
    isolated(|env| {
        let _registry = env.registry()?;
        let mut former = backend(env, &[])?;
        env.wait_registered("api", 1, TIMEOUT)?;
        let templates =
            [template(env, "envoy.yaml.j2")?, template(env, "envoy-endpoints.json.j2")?];
        let [bootstrap, endpoints] =
            ["envoy.yaml", "api.json"].map(|name| env.directory().join(name));
        let words = ["render", &templates[1].to_string_lossy(), "-o", &endpoints.to_string_lossy()];
        let mut watcher = env.portolan(&words)?.args(&["--watch"]).spawn("render")?;
        wait_for("the endpoints", || contains(&endpoints, "\"port_value\": 8080"))?;
        let envoy = servers::envoy()?;
        let check = format!("{} --mode validate -l error -c {{file}}", envoy.display());
        let words = ["render", &templates[0].to_string_lossy(), "-o", &bootstrap.to_string_lossy()];
        let render = || {
            let command = env.portolan(&words)?.args(&["--check", &check]);
            command.env("ENVOY_ENDPOINTS", &endpoints.to_string_lossy()).run()
        };
        render()?.exits(0)?;
        let accepted = fs::read_to_string(&bootstrap)?;
        fs::write(&templates[0], accepted.replace("stat_prefix", "no_such_field"))?;
        let rejected = render()?.exits(1)?.stderr;
        ensure!(rejected.contains("rejects the new"), "{rejected}");
        ensure!(fs::read_to_string(&bootstrap)? == accepted, "the file was replaced");

        let mut command = Command::new(&envoy);
        command.args(["--disable-hot-restart", "--concurrency", "1", "-l", "error", "-c"]);
        command.arg(&bootstrap);
        let mut server = env.spawn("envoy", command)?;
        server.wait_until("envoy", || http::get(PROXY))?;
        let hosts = || http::get("http://127.0.0.1:9901/clusters");
        let has = |port: u16| {
            Ok::<_, anyhow::Error>(hosts()?.contains(&format!("api::127.0.0.1:{port}::")))
        };
        let _later = backend(env, &[])?;
        wait_for("the second instance", || {
            ensure!(has(8080)? && has(8081)?, "{}", hosts()?);
            Ok(())
        })?;
        under_requests(|| {
            former.terminate()?.exits(0)?;
            wait_for("the end of the first", || {
                ensure!(!has(8080)? && has(8081)?, "{}", hosts()?);
                Ok(())
            })
        })?;
        watcher.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn pgbouncer_follows_a_database_to_another_port() {
    isolated(|env| {
        let _registry = env.registry()?;
        let register = |port: u16| {
            let words =
                ["register", "postgres", "--id", "pg", "--port", &port.to_string(), "--replace"];
            env.portolan(&words)?.run()?.exits(0).map(drop)
        };
        let databases = [Postgres::prepare(env, "one")?, Postgres::prepare(env, "two")?];
        let _servers = [databases[0].start(env, 5433)?, databases[1].start(env, 5434)?];
        register(5433)?;
        let template = template(env, "pgbouncer.ini.j2")?;
        // PgBouncer does not run as root, and writes its process id there.
        let folder = env.folder("pgbouncer")?;
        Command::new("chmod").arg("0777").arg(&folder).status()?;
        let [output, pid] = ["pgbouncer.ini", "pid"].map(|name| folder.join(name));
        let words = ["render", &template.to_string_lossy(), "-o", &output.to_string_lossy()];
        let render = || {
            Ok::<_, anyhow::Error>(
                env.portolan(&words)?
                    .args(&["--mode", "0644"])
                    .env("PGBOUNCER_PID", &pid.to_string_lossy()),
            )
        };
        render()?.run()?.exits(0)?;
        let mut command = Command::new(servers::program("setpriv", "util-linux")?);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(servers::program("pgbouncer", "pgbouncer")?).arg(&output);
        let mut pool = env.spawn("pgbouncer", command)?;
        let serves = |database: &Postgres| {
            let directory = data_directory_at("127.0.0.1", 6432)?;
            ensure!(directory == database.data_directory(), "{}", directory.display());
            Ok(())
        };
        pool.wait_until("the first database", || serves(&databases[0]))?;
        let options = ["--watch", "--signal", "HUP", "--pid-file", &pid.to_string_lossy()];
        let mut watcher = render()?.args(&options).spawn("render")?;
        register(5434)?;
        pool.wait_until("the other database", || serves(&databases[1]))?;
        watcher.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn prometheus_scrapes_what_is_registered() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let template = template(env, "prometheus-targets.json.j2")?;
        let output = env.directory().join("targets.json");
        let words =
            ["render", &template.to_string_lossy(), "-o", &output.to_string_lossy(), "--watch"];
        let mut watcher = env.portolan(&words)?.spawn("render")?;
        wait_for("an empty list", || contains(&output, "[\n]"))?;
        let config = format!(
            "scrape_configs:\n- job_name: api\n  file_sd_configs:\n  - files: [{}]\n",
            output.display()
        );
        let config = env.write("prometheus.yml", &config)?;
        let mut command = Command::new(servers::program("prometheus", "prometheus")?);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", env.folder("prometheus")?.display()));
        command.arg("--web.listen-address=127.0.0.1:9099");
        let mut prometheus = env.spawn("prometheus", command)?;
        let targets = || -> Result<BTreeSet<String>> {
            let answer = http::get_json("http://127.0.0.1:9099/api/v1/targets?state=active")?;
            let targets = answer["data"]["activeTargets"].as_array().context("targets")?;
            let address = |target: &Value| {
                target["discoveredLabels"]["__address__"].as_str().map(str::to_owned)
            };
            Ok(targets.iter().filter_map(address).collect())
        };
        prometheus.wait_until("Prometheus", || targets().map(drop))?;
        let mut api = backend(env, &[])?;
        let address = "127.0.0.1:8080";
        wait_for("the target", || {
            ensure!(targets()? == BTreeSet::from([address.to_owned()]), "{:?}", targets()?);
            Ok(())
        })?;
        api.terminate()?;
        wait_for("no target", || {
            ensure!(targets()?.is_empty(), "{:?}", targets()?);
            Ok(())
        })?;
        watcher.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn env_file_is_read_by_a_shell() {
    isolated(|env| {
        let _registry = env.registry()?;
        for (name, port) in [("api", "8080"), ("postgres", "5432")] {
            env.portolan(&["register", name, "--port", port])?.run()?.exits(0)?;
        }
        let template = template(env, "services.env.j2")?;
        let words = ["render", &template.to_string_lossy()];
        let printed = env.portolan(&words)?.run()?.exits(0)?.stdout;
        let file = env.write(".env", &printed)?;
        let script = format!(
            "set -eu; . {}; echo $API_SERVICE_HOST $API_SERVICE_PORT $POSTGRES_PORT",
            file.display()
        );
        let shell = Command::new("sh").args(["-c", &script]).output()?;
        let text = String::from_utf8(shell.stdout)?;
        ensure!(text == "127.0.0.1 8080 5432\n", "{text} from\n{printed}");
        Ok(())
    });
}

#[test]
fn program_of_exec_gets_the_variables_of_a_convention() {
    isolated(|env| {
        let _registry = env.registry()?;
        env.portolan(&["register", "api", "--port", "8080"])?.run()?.exits(0)?;
        for (convention, variable, value) in [
            ("links", "API_PORT", "tcp://127.0.0.1:8080"),
            ("kubernetes", "API_SERVICE_PORT", "8080"),
            ("aspire", "ConnectionStrings__api", "tcp://127.0.0.1:8080"),
        ] {
            let words =
                ["exec", "--needs", "api", "--convention", convention, "--", "printenv", variable];
            let printed = env.portolan(&words)?.run()?.exits(0)?.stdout;
            ensure!(printed.trim_end() == value, "{convention}: {printed}");
        }
        env.portolan(&["exec", "--needs", "api", "--convention", "systemd", "--", "true"])?
            .run()?
            .exits(2)
            .map(drop)
    });
}

#[test]
fn service_that_is_missing_has_its_exit_status_and_nothing_is_written() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let template = env.write("t.j2", "a\n{{ service('no-such').port }}")?;
        let output = env.directory().join("out");
        let words = ["render", &template.to_string_lossy(), "-o", &output.to_string_lossy()];
        let ended = env.portolan(&words)?.run()?.exits(3)?;
        let expected = "t.j2:2: no instance of no-such found";
        ensure!(ended.stderr.contains(expected), "{}", ended.stderr);
        env.portolan(&words)?.args(&["--wait=100ms"]).run()?.exits(124)?;
        env.portolan(&words)?.args(&["--check", "true"]).run()?.exits(2)?;
        ensure!(!output.exists());
        Ok(())
    });
}

/// A registry without former data cannot tell for half a minute whether a service has instances that have not registered again yet. One that
/// it reports as gone is gone.
#[test]
fn address_of_an_instance_that_is_gone_does_not_stay_in_the_file() {
    isolated(|env| {
        let mut registry = env.portolan(&["serve"])?.spawn("registry")?;
        registry.wait_for_line("Registry server started")?;
        let register = |name: &str| {
            let register = ["register", name, "--host", "127.0.0.1", "--port", "5001"];
            env.portolan(&register)?.run()?.exits(0)
        };
        register("api")?;
        let list = "{% for it in services(\"api\") %}{{ it.address }} {% endfor %}.";
        let template = env.write("addresses.j2", list)?.display().to_string();
        let output = env.directory().join("addresses");
        let words = ["render", &template, "-o", &output.to_string_lossy(), "--watch"];
        let _watcher = env.portolan(&words)?.spawn("render")?;
        wait_for("the address", || contains(&output, "127.0.0.1:5001"))?;
        // One address belongs to one service: the older one is removed.
        register("other")?;
        wait_for("the file without the address", || {
            let text = fs::read_to_string(&output)?;
            ensure!(text == ".", "{text:?}");
            Ok(())
        })
    });
}

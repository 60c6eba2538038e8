//! Health checks of real servers, by an agent and by a registry.

use std::fs;

use anyhow::{Context, Result, ensure};
use portolan_tests::{
    Process, TestEnv, http, isolated, postgres::Postgres, redis, servers, wait_for,
};
use rustix::process::Signal;
use serde_json::Value;

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
/// Runs on until it is ended.
const LASTING: [&str; 2] = ["sleep", "1000"];

/// Waits until the only instance of a service has this health, and returns it.
fn wait_for_health(env: &TestEnv, name: &str, health: &str) -> Result<Value> {
    wait_for(&format!("{name} to be {health}"), || {
        let found = env.registered(name)?;
        let instance = found.first().context("not registered")?;
        ensure!(instance["health"] == health, "{instance}");
        Ok(instance.clone())
    })
}

fn reason(instance: &Value) -> &str {
    instance["health_reason"].as_str().unwrap_or_default()
}

/// Starts the service with this check, every 50 ms.
fn service<S: AsRef<std::ffi::OsStr>>(
    env: &TestEnv,
    name: &str,
    check: &str,
    command: &[S],
) -> Result<Process> {
    let separator = if check.contains('#') { '&' } else { '#' };
    let check = format!("{check}{separator}interval=50ms");
    env.service(name, &["--health", &check], command)
}

/// Registers an instance that the registry checks, every 100 ms at most.
fn register(env: &TestEnv, name: &str, port: &str, url: &str) -> Result<()> {
    let register = ["register", name, "--host", "127.0.0.1", "--port", port, "--health-url", url];
    env.portolan(&register)?.run()?.exits(0).map(drop)
}

/// Starts a registry with a short interval of checks.
fn registry(env: &TestEnv, more: &[&str]) -> Result<Process> {
    let options = [&["--set", "health.interval=100ms"][..], more].concat();
    env.quiet_registry(portolan_tests::REGISTRY, &options)
}

#[test]
fn postgres_is_checked_without_a_password() {
    isolated(|env| {
        let _registry = registry(env, &[])?;
        let postgres = Postgres::prepare(env, "data")?;
        let mut command = postgres.command("{port}");
        command.extend(["-c".into(), "log_connections=off".into()]);
        let _service = service(env, "postgres-1", "postgres", &command)?;
        let passing = wait_for_health(env, "postgres-1", "passing")?;
        ensure!(reason(&passing) == "127.0.0.1:5432: PostgreSQL accepts connections", "{passing}");
        ensure!(passing["health_url"] == "postgres://127.0.0.1:5432#interval=50ms", "{passing}");
        // A registry checks it as well, whether or not the user exists.
        register(env, "again", "5432", "postgres://127.0.0.1:5432#user=nobody-has-this-name")?;
        wait_for_health(env, "again", "passing").map(drop)
    });
}

#[test]
fn redis_with_a_password_passes_and_another_server_does_not() {
    isolated(|env| {
        let _registry = registry(env, &[])?;
        let mut command = redis::command("{port}")?;
        command.extend(["--requirepass".into(), "secret".into()]);
        let _service = service(env, "redis-1", "redis", &command)?;
        let passing = wait_for_health(env, "redis-1", "passing")?;
        ensure!(reason(&passing).ends_with("Redis answers, and asks for a password"), "{passing}");
        register(env, "kind", "6379", "postgres://127.0.0.1:6379")?;
        wait_for_health(env, "kind", "critical").map(drop)
    });
}

#[test]
fn stopped_program_is_critical_although_the_kernel_accepts_connections() {
    isolated(|env| {
        let _registry = registry(env, &[])?;
        let _service = service(env, "api", "tcp", &[BINDER, "{port}"])?;
        wait_for_health(env, "api", "passing")?;
        let program = server_process(env, "late-binder")?;
        rustix::process::kill_process(program, Signal::STOP)?;
        let stopped = wait_for_health(env, "api", "critical")?;
        ensure!(reason(&stopped) == "a signal has stopped the program", "{stopped}");
        rustix::process::kill_process(program, Signal::CONT)?;
        wait_for_health(env, "api", "passing").map(drop)
    });
}

#[test]
fn last_results_of_an_agent_and_of_the_registry_are_listed_and_make_no_revision() {
    isolated(|env| {
        let _registry = registry(env, &["--set", "broadcast.announce_interval=100ms"])?;
        let options =
            ["--set", "broadcast.announce_interval=100ms", "--health", "tcp#interval=50ms"];
        let _service = env.service("api", &options, &[BINDER, "{port}"])?;
        let port = wait_for_health(env, "api", "passing")?["port"].to_string();
        register(env, "checked", &port, &format!("tcp://127.0.0.1:{port}"))?;
        wait_for_health(env, "checked", "passing")?;
        let revision =
            |name: &str| Ok::<_, anyhow::Error>(env.registered(name)?[0]["revision"].clone());
        let before = (revision("api")?, revision("checked")?);
        for name in ["api", "checked"] {
            wait_for(&format!("three successes of {name} in a row"), || {
                let listed = env.portolan(&["list", name, "--checks", "--json"])?.run()?.json()?;
                let id = listed["services"][0]["id"].as_str().context("no id")?;
                let results = &listed["checks"][id];
                ensure!(results["consecutive_successes"].as_u64() >= Some(3), "{listed}");
                ensure!(results["result"] == "passing", "{listed}");
                ensure!(results["latency_ms"].as_f64() > Some(0.0), "{listed}");
                Ok(())
            })?;
        }
        ensure!(before == (revision("api")?, revision("checked")?), "checks make no revision");
        let table = env.portolan(&["list", "--checks"])?.run()?.exits(0)?.stdout;
        ensure!(table.contains("LATENCY") && table.contains("IN A ROW"), "{table}");
        let both =
            env.portolan(&["list", "--health", "passing,warning,unknown", "--json"])?.run()?;
        ensure!(both.json()?["services"].as_array().map(Vec::len) == Some(2));
        let none = env.portolan(&["list", "--health", "critical", "--json"])?.run()?.json()?;
        ensure!(none["services"].as_array().is_some_and(Vec::is_empty), "{none}");
        Ok(())
    });
}

/// A stop of many intervals, and longer than the timeout of a check that is running.
#[test]
fn registry_that_was_stopped_makes_nothing_critical_and_goes_on_checking() {
    isolated(|env| {
        let registry = registry(env, &["--set", "health.failures_before_critical=1"])?;
        let _service = env.service("api", &["--health", "none"], &[BINDER, "{port}"])?;
        let port = wait_for("the service", || {
            Ok(env.registered("api")?.first().context("not registered")?["port"].to_string())
        })?;
        register(env, "checked", &port, &format!("tcp://127.0.0.1:{port}"))?;
        wait_for_health(env, "checked", "passing")?;
        registry.signal(Signal::STOP)?;
        std::thread::sleep(std::time::Duration::from_secs(3));
        registry.signal(Signal::CONT)?;
        let checks = || {
            let listed = env.portolan(&["list", "checked", "--checks", "--json"])?.run()?.json()?;
            let id = listed["services"][0]["id"].as_str().context("no id")?.to_owned();
            ensure!(listed["services"][0]["health"] == "passing", "{listed}");
            listed["checks"][&id]["successes"].as_u64().context("no results")
        };
        let before = wait_for("an answer", checks)?;
        wait_for("three checks", || {
            let now = checks()?;
            ensure!(now >= before + 3, "{now}");
            Ok(())
        })?;
        let metrics = http::get(&format!("{}/metrics", portolan_tests::REGISTRY))?;
        ensure!(!metrics.contains("discovery_unhealthy_services{"), "{metrics}");
        Ok(())
    });
}

/// The process of a program that the test has started.
fn server_process(env: &TestEnv, program: &str) -> Result<rustix::process::Pid> {
    let found = env.processes()?;
    let is_ours = |command: &str| {
        command.contains("portolan run") || command.starts_with("/proc/self/exe shim")
    };
    let own = found.iter().find(|(_, command)| command.contains(program) && !is_ours(command));
    let (pid, _) = own.with_context(|| format!("{found:?}"))?;
    rustix::process::Pid::from_raw(pid.cast_signed()).context("no process")
}

#[test]
fn command_decides_by_its_exit_status_and_gets_no_secret() {
    isolated(|env| {
        let _registry = registry(env, &[])?;
        let file = env.write("status", "0")?;
        let script = env.write(
            "check.sh",
            &format!(
                "echo token=$PORTOLAN_TOKEN at $1:$2 in $(basename $PWD)\nexit $(cat {})\n",
                file.display()
            ),
        )?;
        let check = format!("command:sh {} {{host}} {{port}}#interval=50ms", script.display());
        let options = ["--preferred", "8123", "--health", &check];
        let run = env.portolan(&["run", "--name", "job"])?.args(&options).arg("--").args(&LASTING);
        let _service = run.env("PORTOLAN_TOKEN", "a token of this test").spawn("job")?;
        wait_for_health(env, "job", "passing")?;
        for (status, health) in [("1", "warning"), ("2", "critical"), ("0", "passing")] {
            fs::write(&file, status)?;
            let found = wait_for_health(env, "job", health)?;
            let expected = format!("sh: exit status: {status}: token= at 127.0.0.1:8123 in ");
            ensure!(reason(&found).starts_with(&expected), "{found}");
        }
        Ok(())
    });
}

#[test]
fn nobody_can_let_a_registry_run_a_command() {
    isolated(|env| {
        let _registry = registry(env, &[])?;
        let file = env.directory().join("written");
        let url = format!("command://127.0.0.1/bin/touch {}", file.display());
        register(env, "evil", "8080", &url)?;
        let refused = wait_for("the reason", || {
            let found = env.registered("evil")?.pop().context("not registered")?;
            ensure!(!reason(&found).is_empty(), "{found}");
            Ok(found)
        })?;
        ensure!(refused["health"] == "unknown", "{refused}");
        ensure!(reason(&refused).contains("is not a health check"), "{refused}");
        ensure!(!file.exists(), "the registry ran a command");
        Ok(())
    });
}

#[test]
fn instance_that_stays_critical_is_deregistered_by_the_registry() {
    isolated(|env| {
        let _registry = registry(env, &[])?;
        let url = "tcp://127.0.0.1:8123#deregister_critical_after=1s";
        register(env, "gone", "8123", url)?;
        register(env, "kept", "8124", "tcp://127.0.0.1:8124")?;
        wait_for_health(env, "gone", "critical")?;
        env.wait_registered("gone", 0, portolan_tests::TIMEOUT)?;
        wait_for_health(env, "kept", "critical").map(drop)
    });
}

#[test]
fn stack_has_checks_with_options_and_of_several_parts() {
    isolated(|env| {
        let nginx = servers::nginx_with(
            env,
            "web",
            "127.0.0.1:8123",
            "location /health { return 200 \"state: ready\"; }\n    location / { return 503; }",
        )?;
        let command = serde_json::to_string(&nginx)?;
        let file = env.write(
            "portolan.yaml",
            &format!(
                "name: shop\nservices:\n  web:\n    command: {command}\n    port: 8123\n    strict: true\n    handoff: number\n    \
                 health:\n      all: [process, 'http:/health']\n      status: [200]\n      body: 'state: ready'\n      \
                 interval: 50ms\n"
            ),
        )?;
        let _stack = env.portolan(&["up"])?.arg(&file).spawn("stack")?;
        let found = wait_for_health(env, "web", "passing")?;
        ensure!(found["port"] == 8123, "{found}");
        ensure!(reason(&found).contains("runs; GET /health: 200 OK"), "{found}");
        Ok(())
    });
}

#[test]
fn invalid_check_of_a_stack_is_an_error_with_its_place() {
    isolated(|env| {
        let stack =
            "services:\n  web:\n    command: sleep 9\n    health: {check: tcp, intervall: 5s}\n";
        let file = env.write("portolan.yaml", stack)?;
        let refused = env.portolan(&["up"])?.arg(&file).run()?.exits(2)?;
        ensure!(refused.stderr.contains("services.web.health"), "{refused:?}");
        ensure!(
            refused.stderr.contains("\"intervall\" is not an option of this check"),
            "{refused:?}"
        );
        Ok(())
    });
}

#[cfg(feature = "full")]
mod full {
    use super::*;

    const GRPC: &str = env!("CARGO_BIN_EXE_grpc-health");

    /// Creates a certificate for 127.0.0.1, and returns the option that trusts its authority, the certificate and the key.
    fn certificate(env: &TestEnv) -> Result<(String, String, String)> {
        let directory = env.directory().join("ca");
        let file = |name: &str| directory.join(name).display().to_string();
        let ca = ["ca", "--dir", directory.to_str().context("path")?];
        env.portolan(&ca)?.arg("init").run()?.exits(0)?;
        let issue = ["issue", "web", "--subject", "127.0.0.1"];
        env.portolan(&ca)?.args(&issue).run()?.exits(0)?;
        Ok((format!("health.tls.ca={}", file("ca.pem")), file("web.pem"), file("web.key")))
    }

    #[test]
    fn https_is_checked_with_a_private_authority() {
        isolated(|env| {
            let (trust, certificate, key) = certificate(env)?;
            let location = format!(
                "ssl_certificate {certificate};\n    ssl_certificate_key {key};\n    location / {{ return 302 /login; }}"
            );
            let nginx = servers::nginx_with(env, "web", "127.0.0.1:8443 ssl", &location)?;
            let _registry = registry(env, &["--set", &trust])?;
            let options =
                ["--preferred", "8443", "--strict", "--handoff", "number", "--set", &trust];
            let check = ["--health", "https:/#interval=50ms"];
            let _service = env.service("web", &[&options[..], &check].concat(), &nginx)?;
            let passing = wait_for_health(env, "web", "passing")?;
            ensure!(reason(&passing) == "GET /: 302 Found", "{passing}");
            ensure!(passing["health_url"] == "https://127.0.0.1:8443/#interval=50ms", "{passing}");
            register(env, "again", "8443", "https://127.0.0.1:8443/")?;
            wait_for_health(env, "again", "passing")?;
            register(env, "named", "8443", "https://127.0.0.1:8443/#server_name=example.org")?;
            let named = wait_for_health(env, "named", "critical")?;
            ensure!(reason(&named).contains("is not for example.org"), "{named}");
            Ok(())
        });
    }

    #[test]
    fn authority_that_is_not_trusted_is_named_with_the_setting() {
        isolated(|env| {
            let (_, certificate, key) = certificate(env)?;
            let (other, ..) = {
                let directory = env.directory().join("other");
                let ca = ["ca", "--dir", directory.to_str().context("path")?, "init"];
                env.portolan(&ca)?.run()?.exits(0)?;
                (format!("health.tls.ca={}", directory.join("ca.pem").display()), ())
            };
            let _registry = registry(env, &["--set", &other])?;
            let mut grpc = std::process::Command::new(GRPC);
            grpc.args(["9443", &certificate, &key]);
            let _server = env.spawn("grpc", grpc)?;
            register(env, "grpc-1", "9443", "grpcs://127.0.0.1:9443")?;
            let refused = wait_for("a certificate", || {
                let found = wait_for_health(env, "grpc-1", "critical")?;
                ensure!(reason(&found).contains("no trusted authority"), "{found}");
                Ok(found)
            })?;
            ensure!(reason(&refused).contains("health.tls.ca"), "{refused}");
            Ok(())
        });
    }

    #[test]
    fn grpc_server_is_checked_by_the_standard_protocol() {
        isolated(|env| {
            let (trust, certificate, key) = certificate(env)?;
            let _registry = registry(env, &["--set", &trust])?;
            let check = "grpc#service=shop.Orders";
            let _service = service(env, "grpc-1", check, &[GRPC, "{port}"])?;
            let passing = wait_for_health(env, "grpc-1", "passing")?;
            ensure!(reason(&passing).ends_with("the service shop.Orders is SERVING"), "{passing}");
            let url = format!("grpc://127.0.0.1:{}", passing["port"]);
            let port = passing["port"].to_string();
            register(env, "server", &port, &url)?;
            wait_for_health(env, "server", "passing")?;
            register(env, "unknown", &port, &format!("{url}#service=shop.Carts"))?;
            let unknown = wait_for_health(env, "unknown", "critical")?;
            ensure!(
                reason(&unknown).contains("does not know the health of the service"),
                "{unknown}"
            );
            rustix::process::kill_process(server_process(env, "grpc-health")?, Signal::USR1)?;
            let critical = wait_for_health(env, "grpc-1", "critical")?;
            ensure!(reason(&critical).ends_with("is NOT_SERVING"), "{critical}");
            let secure = [GRPC, "9443", &certificate, &key];
            let options =
                ["--preferred", "9443", "--set", &trust, "--health", "grpcs#interval=50ms"];
            let _secure = env.service("grpc-2", &options, &secure)?;
            wait_for_health(env, "grpc-2", "passing").map(drop)
        });
    }
}

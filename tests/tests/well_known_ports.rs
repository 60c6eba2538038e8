//! Servers of nobody on the well-known ports of the client's host: every lookup returns what the registry, the
//! configuration or the lease says, in every scope and by every command.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_tests::{
    Process, TIMEOUT, TestEnv, http, isolated, redis, servers, target_directory, wait_for,
};

/// The services, and the ports that they have elsewhere.
const SERVICES: [(&str, u16); 3] = [("api", 8081), ("redis", 6380), ("postgres", 5433)];
const ELSEWHERE: &str = "10.77.0.3";
/// Answers the request for encryption as PostgreSQL does that has none.
const POSTGRES: &str = "import socket
server = socket.create_server(('127.0.0.1', 5432))
print('listening', flush=True)
while True:
    client, _ = server.accept()
    client.recv(8)
    client.sendall(b'N')
    client.close()";

/// Starts an HTTP server, a Redis and a server with the handshake of PostgreSQL on their well-known ports.
fn foreign_servers(env: &TestEnv) -> Result<[Process; 3]> {
    let python = |arguments: &[&str], name: &str| {
        let mut command = Command::new("python3");
        command.args(arguments);
        env.spawn(name, command)
    };
    let mut web = python(&["-m", "http.server", "8080", "--bind", "127.0.0.1"], "web")?;
    web.wait_until("the HTTP server to answer", || http::get("http://127.0.0.1:8080"))?;
    let mut postgres = python(&["-c", POSTGRES], "postgres")?;
    postgres.wait_for_line("listening")?;
    Ok([web, redis::start(env, 6379)?, postgres])
}

/// Looks a service up by every command with these options, and expects this address each time.
fn every_command_finds(env: &TestEnv, name: &str, options: &[&str], address: &str) -> Result<()> {
    let variable = name.replace('-', "_").to_uppercase();
    let print = format!("echo ${variable}_HOST:${variable}_PORT");
    for arguments in [
        &["discover", name][..],
        &["discover", name, "--all"],
        &["discover", name, "--wait=20s"],
        &["exec", "--needs", name, "--", "sh", "-c", &print],
        &["exec", "--needs", name, "--wait=20s", "--", "sh", "-c", &print],
    ] {
        let [command, rest @ ..] = arguments else { continue };
        let found = env.portolan(&[command])?.args(options).args(rest).run()?.text()?;
        ensure!(found == address, "{arguments:?} {options:?}: {found}");
    }
    Ok(())
}

/// Starts a stack of one service that needs another one, and returns it with the URL of its registry.
fn stack_that_needs(env: &TestEnv, name: &str, options: &[&str]) -> Result<(Process, String)> {
    let variable = name.replace('-', "_").to_uppercase();
    let command =
        format!("[sh, -c, 'echo found ${variable}_HOST:${variable}_PORT; exec sleep infinity']");
    let stack = format!(
        "services:\n  caller:\n    port: none\n    needs: [{name}]\n    command: {command}\n"
    );
    let file = env.write(&format!("stack-{name}/portolan.yaml"), &stack)?;
    let folder = file.parent().context("no folder")?;
    let mut up = env.portolan(&["up"])?.args(options).directory(folder).spawn("up")?;
    let line = up.wait_for_line("registry at ")?;
    let url = line.split("registry at ").nth(1).and_then(|rest| rest.split(';').next());
    Ok((up, url.context("no URL")?.to_owned()))
}

/// Looks a service up with the library.
fn library_finds(env: &TestEnv, name: &str, address: &str) -> Result<()> {
    for (example, scope) in [("blocking", None), ("discover", None)] {
        library_finds_in(env, example, (name, scope), address)?;
    }
    Ok(())
}

fn library_finds_in(
    env: &TestEnv,
    example: &str,
    (name, scope): (&str, Option<&str>),
    address: &str,
) -> Result<()> {
    let mut command = Command::new(target_directory()?.join("examples").join(example));
    command.arg(name).args(scope);
    let found = env.spawn(example, command)?.wait(TIMEOUT)?.text()?;
    // The explanation of the other example lists what each strategy has found.
    let is_found = found == address || found.contains(&format!("{name} is at {address} "));
    ensure!(is_found, "{example} {name} {scope:?}: {found}");
    Ok(())
}

#[test]
fn registered_instance_is_found_in_every_scope() {
    isolated(|env| {
        let _foreign = foreign_servers(env)?;
        let _registry = env.settled_registry()?;
        for scope in ["default", "project-b"] {
            for (name, port) in SERVICES {
                let port = port + u16::from(scope != "default");
                let register = ["register", name, "--host", ELSEWHERE, "--scope", scope];
                let place = ["--ttl", "10m", "--port", &port.to_string()];
                env.portolan(&register)?.args(&place).run()?.exits(0)?;
            }
        }
        for (name, port) in SERVICES {
            every_command_finds(env, name, &[], &format!("{ELSEWHERE}:{port}"))?;
            library_finds(env, name, &format!("{ELSEWHERE}:{port}"))?;
            // A scope of its own, and one without instances, which uses those of the default scope.
            for (scope, port) in [("project-b", port + 1), ("project-c", port)] {
                let address = format!("{ELSEWHERE}:{port}");
                every_command_finds(env, name, &["--scope", scope], &address)?;
                library_finds_in(env, "discover", (name, Some(scope)), &address)?;
            }
        }
        Ok(())
    });
}

#[test]
fn stack_gets_what_its_registry_says() {
    isolated(|env| {
        let _foreign = foreign_servers(env)?;
        for (name, port) in SERVICES {
            let (mut up, registry) = stack_that_needs(env, name, &[])?;
            let place = ["--host", ELSEWHERE, "--port", &port.to_string(), "--registry", &registry];
            env.portolan(&["register", name, "--ttl", "10m"])?.args(&place).run()?.exits(0)?;
            let line = up.wait_for_line("found ")?;
            ensure!(line.contains(&format!("found {ELSEWHERE}:{port}")), "{name}: {line}");
            up.terminate()?.exits(0)?;
        }
        // An instance in the scope of the stack comes before one in the default scope.
        for (name, port) in SERVICES {
            let scope = ["--scope", "project-b"];
            let (mut up, registry) = stack_that_needs(env, name, &scope)?;
            let register = |options: &[&str], port: u16| -> Result<()> {
                let place =
                    ["--host", ELSEWHERE, "--port", &port.to_string(), "--registry", &registry];
                let register = env.portolan(&["register", name, "--ttl", "10m"])?.args(&place);
                register.args(options).run()?.exits(0).map(drop)
            };
            register(&scope, port + 1)?;
            register(&[], port)?;
            let line = up.wait_for_line("found ")?;
            ensure!(line.contains(&format!("found {ELSEWHERE}:{}", port + 1)), "{name}: {line}");
            up.terminate()?.exits(0)?;
        }
        Ok(())
    });
}

#[test]
fn configured_endpoint_is_found_in_every_scope() {
    isolated(|env| {
        let _foreign = foreign_servers(env)?;
        let _registry = env.settled_registry()?;
        for (name, port) in SERVICES {
            let address = format!("{ELSEWHERE}:{port}");
            let configured = format!("discovery.endpoints={{{name}: '{address}'}}");
            for scope in ["default", "project-b"] {
                let options = ["--set", &configured, "--scope", scope];
                every_command_finds(env, name, &options, &address)?;
            }
            let (mut up, _) = stack_that_needs(env, name, &["--set", &configured])?;
            let line = up.wait_for_line("found ")?;
            ensure!(line.contains(&format!("found {address}")), "{name}: {line}");
        }
        Ok(())
    });
}

#[test]
fn leased_instance_of_this_host_is_found_without_a_registry() {
    isolated(|env| {
        let _foreign = foreign_servers(env)?;
        let options = ["--preferred", "8080"];
        let server = ["python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"];
        let _api = env.service("api", &options, &server)?;
        let _redis = env.service("redis", &[], &redis::command("{port}")?)?;
        for (name, port) in [("api", 8081), ("redis", 6380)] {
            let address = format!("127.0.0.1:{port}");
            wait_for("the service to be announced", || {
                let found = env.discover(name, &["--strategy", "broadcast"])?.text()?;
                ensure!(found == address, "{found}");
                Ok(())
            })?;
            every_command_finds(env, name, &[], &address)?;
            every_command_finds(env, name, &["--scope", "project-b"], &address)?;
            library_finds(env, name, &address)?;
            let (mut up, _) = stack_that_needs(env, name, &[])?;
            let line = up.wait_for_line("found ")?;
            ensure!(line.contains(&format!("found {address}")), "{name}: {line}");
        }
        Ok(())
    });
}

#[test]
fn critical_instance_on_the_default_port_is_returned_by_no_command() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let service = |status: &'static str, port: &'static str| {
            let options = ["--health", "http:/", "--preferred", port];
            env.service("api", &options, &servers::status(env, status)?)
        };
        let (_critical, _passing) = (service("503", "8080")?, service("200", "8081")?);
        wait_for("one critical and one passing instance", || {
            let found = env.registered("api")?;
            let has = |health: &str| found.iter().any(|service| service["health"] == health);
            ensure!(has("critical") && has("passing"), "{found:?}");
            Ok(())
        })?;
        let listed = env.discover("api", &["--all"])?.text()?;
        ensure!(listed.lines().next() == Some("127.0.0.1:8081"), "the best first: {listed}");
        for _ in 0..5 {
            let found = env.discover("api", &[])?.text()?;
            ensure!(found == "127.0.0.1:8081", "{found}");
            library_finds(env, "api", "127.0.0.1:8081")?;
        }
        let print = "echo $API_PORT";
        for wait in [&[][..], &["--wait=10s"]] {
            let exec = env.portolan(&["exec", "--needs", "api"])?.args(wait);
            let output = exec.args(&["--", "sh", "-c", print]).run()?.text()?;
            ensure!(output == "8081", "{output}");
        }
        let (mut up, _) = stack_that_needs(env, "api", &[])?;
        let line = up.wait_for_line("found ")?;
        ensure!(line.contains("found 127.0.0.1:8081"), "{line}");
        Ok(())
    });
}

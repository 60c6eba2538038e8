//! Hand-off to real programs: beside a guard that is held during their start, and as an inherited
//! listening socket.

mod foreign_processes;
mod inheritance;

use std::fs;
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use portolan_tests::port::{bind_is_refused_everywhere, is_never_an_ephemeral_port, listener};
use portolan_tests::postgres::{Postgres, psql};
use portolan_tests::{Process, TIMEOUT, TestEnv, http, isolated, redis, servers};

/// The expected port: the default of the pool of `web-api`.
const PORT: u16 = 8080;
const NAME: &str = "web-api";

/// Returns a command that starts the program only when the file `go` exists; until then only the
/// guard holds the port.
fn start_when_go_exists(command: &[String]) -> Vec<String> {
    let script = "while ! test -e go; do sleep 0.02; done; exec \"$@\"";
    ["sh", "-c", script, "sh"].map(str::to_owned).into_iter().chain(command.to_vec()).collect()
}

fn expect_greeting(from: &str) -> Result<()> {
    let output = http::get(&format!("http://127.0.0.1:{PORT}"))?;
    ensure!(output.contains(from), "this does not come from {from}: {output}");
    Ok(())
}

/// Runs the command and checks that the guard precedes the program, lets it bind, and remains.
fn starts_beside_its_guard(
    env: &TestEnv,
    command: &[String],
    program: &str,
    check: impl Fn() -> Result<()>,
) -> Result<()> {
    env.sysctl("net.ipv4.ip_local_port_range", &format!("{PORT} {}", PORT + 63))?;
    let options = ["--handoff", "guard", "-v"];
    let mut run = env.service(NAME, &options, &start_when_go_exists(command))?;
    run.wait_for_line(&format!("{NAME} has port {PORT}"))?;
    bind_is_refused_everywhere(PORT)?;
    is_never_an_ephemeral_port(PORT)?;
    env.write("go", "")?;
    run.wait_until("a response", &check)?;
    let own = listener(PORT)?;
    ensure!(own.name.starts_with(program), "{own:?} listens");
    ensure!(descends_from_run(&own.pid.to_string(), &run)?, "{own:?} was not started by run");
    bind_is_refused_everywhere(PORT)?;
    is_never_an_ephemeral_port(PORT)
}

/// Whether this process is the program that `portolan run` reported, or a child of it.
fn descends_from_run(id: &str, run: &Process) -> Result<bool> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
    let started = started_pid(run)?;
    Ok(id == started || parent == Some(&started))
}

/// Returns the id of the program that `portolan run -v` started last.
fn started_pid(run: &Process) -> Result<String> {
    let output = run.stderr();
    let line = output.lines().rfind(|line| line.contains("Program started"));
    let id = line.and_then(|line| line.split("pid=").nth(1)).context("no program was started")?;
    Ok(id.trim().to_owned())
}

#[test]
fn redis_starts_beside_its_guard() {
    isolated(|env| {
        let command = redis::command("{port}")?;
        starts_beside_its_guard(env, &command, "redis-server", || redis::ping(PORT))
    });
}

#[test]
fn postgres_starts_beside_its_guard() {
    isolated(|env| {
        let command = Postgres::prepare(env, "data")?.command("{port}");
        starts_beside_its_guard(env, &command, "postgres", || {
            let answer = psql("127.0.0.1", PORT, "select 1")?;
            ensure!(answer == "1", "{answer}");
            Ok(())
        })
    });
}

#[test]
fn nginx_starts_beside_its_guard() {
    isolated(|env| {
        let command = servers::nginx(env, &format!("127.0.0.1:{PORT}"))?;
        starts_beside_its_guard(env, &command, "nginx", || expect_greeting("nginx"))
    });
}

#[test]
fn python_http_server_starts_beside_its_guard() {
    isolated(|env| {
        env.write("files/index.html", "hello from python")?;
        let arguments = ["-m", "http.server", "{port}", "--directory", "files"];
        let command = servers::python(&arguments)?;
        starts_beside_its_guard(env, &command, "python", || expect_greeting("python"))
    });
}

#[test]
fn node_starts_beside_its_guard() {
    isolated(|env| {
        let command = servers::node("process.env.PORT")?;
        starts_beside_its_guard(env, &command, "", || expect_greeting("node"))
    });
}

#[test]
fn uvicorn_starts_beside_its_guard() {
    isolated(|env| {
        let command = servers::uvicorn(env, &["--port", "{port}"])?;
        starts_beside_its_guard(env, &command, "uvicorn", || expect_greeting("uvicorn"))
    });
}

#[test]
fn axum_server_starts_beside_its_guard() {
    isolated(|env| {
        let command = servers::axum()?;
        starts_beside_its_guard(env, &command, "axum_server", || expect_greeting("axum"))
    });
}

/// Runs the command with these options and checks that it serves on its inherited socket.
fn serves_on_its_socket(
    env: &TestEnv,
    options: &[&str],
    command: &[String],
    from: &str,
) -> Result<Process> {
    let _registry = env.registry()?;
    let mut run = env.service(NAME, &[options, &["-v"]].concat(), command)?;
    run.wait_for_line("handoff=socket")?;
    run.wait_until("a response", || expect_greeting(from))?;
    let (own, id) = (listener(PORT)?, started_pid(&run)?);
    ensure!(own.pid.to_string() == id, "{own:?} listens, and {id} was started");
    bind_is_refused_everywhere(PORT)?;
    ensure!(env.foreign_listener(PORT).is_err(), "a foreign bind with SO_REUSEADDR succeeded");
    env.wait_registered(NAME, 1, TIMEOUT)?;
    Ok(run)
}

/// Checks the environment variables of the inherited sockets (sd_listen_fds(3)).
fn has_listen_environment(run: &Process) -> Result<()> {
    let id = started_pid(run)?;
    let variables = fs::read(format!("/proc/{id}/environ"))?;
    let known: Vec<_> = variables.split(|byte| *byte == 0).collect();
    let own = format!("LISTEN_PID={id}");
    for expected in [&own, "LISTEN_FDS=1", "LISTEN_FDNAMES=web-api", "PORT=8080"] {
        ensure!(known.contains(&expected.as_bytes()), "{expected} is not in its environment");
    }
    Ok(())
}

/// Checks that the socket closes with the program: no other process has it.
fn closes_with_its_program(mut run: Process) -> Result<()> {
    run.terminate()?;
    ensure!(TcpStream::connect(("127.0.0.1", PORT)).is_err(), "the kernel still connects");
    Ok(())
}

#[test]
fn nginx_serves_on_its_inherited_socket() {
    isolated(|env| {
        let command = servers::nginx(env, &format!("[::]:{PORT} ipv6only=off"))?;
        let options = ["--handoff", "socket"];
        let mut run = serves_on_its_socket(env, &options, &command, "nginx")?;
        // The program overwrites its environment with its title, so it prints the variables itself.
        run.wait_for_line("using inherited sockets from \"3;\"")?;
        closes_with_its_program(run)
    });
}

#[test]
fn node_serves_on_its_inherited_socket() {
    isolated(|env| {
        let command = servers::node("{fd: Number('{fd}')}")?;
        let run = serves_on_its_socket(env, &[], &command, "node")?;
        has_listen_environment(&run)?;
        closes_with_its_program(run)
    });
}

#[test]
fn uvicorn_serves_on_its_inherited_socket() {
    isolated(|env| {
        let command = servers::uvicorn(env, &["--fd", "3"])?;
        let run = serves_on_its_socket(env, &[], &command, "uvicorn")?;
        has_listen_environment(&run)?;
        closes_with_its_program(run)
    });
}

#[test]
fn gunicorn_serves_on_the_socket_that_its_argument_names() {
    isolated(|env| {
        let command = servers::gunicorn(env, &["--bind", "fd://{fd}"])?;
        serves_on_gunicorn_socket(env, &[], &command)
    });
}

#[test]
fn gunicorn_serves_on_the_socket_of_its_environment() {
    isolated(|env| {
        let command = servers::gunicorn(env, &[])?;
        serves_on_gunicorn_socket(env, &["--handoff", "socket"], &command)
    });
}

/// Its workers listen too, so that the process that listens may be any of them.
fn serves_on_gunicorn_socket(env: &TestEnv, options: &[&str], command: &[String]) -> Result<()> {
    let _registry = env.registry()?;
    let mut run = env.service(NAME, &[options, &["-v"]].concat(), command)?;
    run.wait_for_line("handoff=socket")?;
    run.wait_until("a response", || expect_greeting("gunicorn"))?;
    bind_is_refused_everywhere(PORT)?;
    env.wait_registered(NAME, 1, TIMEOUT)?;
    run.terminate().map(drop)
}

#[test]
fn axum_server_serves_on_its_inherited_socket() {
    isolated(|env| {
        let options = ["--handoff", "socket"];
        let run = serves_on_its_socket(env, &options, &servers::axum()?, "axum")?;
        has_listen_environment(&run)?;
        closes_with_its_program(run)
    });
}

//! Foreign processes that bind the port of a program before it does, and listeners on behalf of a
//! program.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use anyhow::{Result, ensure};
use portolan_tests::{Process, TIMEOUT, TestEnv, isolated, servers};

use super::{NAME, PORT, expect_greeting, start_when_go_exists, started_pid};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");

/// Starts another program of this name that listens on the port.
fn helper(env: &TestEnv, name: &str, port: u16) -> Result<Process> {
    let program = env.directory().join(name);
    symlink(BINDER, &program)?;
    let mut command = Command::new(program);
    command.arg(port.to_string());
    let mut helper = env.spawn(name, command)?;
    helper.wait_for_line(&format!("bound {port}"))?;
    Ok(helper)
}

/// Returns the command of a fake `docker` that does not listen itself.
fn docker(env: &TestEnv) -> Result<Vec<String>> {
    let docker = env.write("bin/docker", "#!/bin/sh\nexec sleep 1000\n")?;
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755))?;
    Ok([&docker.display().to_string(), "run", "-p", "{port}:80", "web"].map(str::to_owned).into())
}

#[test]
fn failed_bind_beside_a_guard_reports_a_remedy() {
    isolated(|env| {
        let script = "import os, socket; socket.socket().bind(('', int(os.environ['PORT'])))";
        let command = servers::python(&["-c", script])?;
        let options = ["--handoff", "guard"];
        let output = env.service(NAME, &options, &command)?.wait(TIMEOUT)?.exits(1)?.stderr;
        ensure!(output.contains("Address already in use"), "{output}");
        ensure!(output.contains("choose the hand-off `number`"), "{output}");
        let command = servers::python(&["-c", script])?;
        let number = ["--handoff", "number"];
        env.service(NAME, &number, &command)?.wait(TIMEOUT)?.exits(0).map(drop)
    });
}

#[test]
fn program_restarts_on_the_next_port_when_a_foreign_process_binds_first() {
    isolated(|env| {
        let node = servers::node("process.env.PORT")?;
        let mut run = env.service(NAME, &["-v"], &start_when_go_exists(&node))?;
        run.wait_for_line("handoff=number")?;
        let _foreign = env.foreign_listener(PORT)?;
        env.write("go", "")?;
        run.wait_for_line(&format!("Program started service_name={NAME} port={}", PORT + 1))?;
        let url = format!("http://127.0.0.1:{}", PORT + 1);
        run.wait_until("a response", || portolan_tests::http::get(&url))?;
        ensure!(expect_greeting("node").is_err());
        Ok(())
    });
}

#[test]
fn run_fails_after_three_lost_ports_and_names_the_foreign_process() {
    isolated(|env| {
        let mut run = env.service(NAME, &["-v"], &["sleep", "1000"])?;
        let mut foreign = Vec::new();
        for port in PORT..PORT + 3 {
            run.wait_for_line(&format!("Program started service_name={NAME} port={port}"))?;
            foreign.push(env.foreign_listener(port)?);
        }
        let output = run.wait(TIMEOUT)?.exits(1)?.stderr;
        let own = std::process::id().to_string();
        let (text, remedy) = output.trim_end().rsplit_once('\n').unwrap_or_default();
        let error = text.lines().last().unwrap_or_default();
        ensure!(error.contains(&format!("pid {own}")) && error.contains("port 8082"), "{error}");
        ensure!(remedy.contains("--preferred") && remedy.contains("--handoff claim"), "{remedy}");
        Ok(())
    });
}

#[test]
fn docker_proxy_is_accepted_as_dockers_listener() {
    isolated(|env| {
        let _registry = env.registry()?;
        let mut run = env.service(NAME, &["-v"], &docker(env)?)?;
        run.wait_for_line("handoff=claim")?;
        let _proxy = helper(env, "docker-proxy", PORT)?;
        let registered = env.wait_registered(NAME, 1, TIMEOUT)?;
        ensure!(registered[0]["port"] == PORT, "{registered:?}");
        Ok(())
    });
}

#[test]
fn unknown_listener_is_not_accepted_for_docker() {
    isolated(|env| {
        let _registry = env.registry()?;
        let mut run = env.service(NAME, &["-v"], &docker(env)?)?;
        run.wait_for_line("handoff=claim")?;
        let first = started_pid(&run)?;
        let _foreign = helper(env, "some-server", PORT)?;
        run.wait_for_line(&format!("Program started service_name={NAME} port={}", PORT + 1))?;
        ensure!(started_pid(&run)? != first);
        let _proxy = helper(env, "docker-proxy", PORT + 1)?;
        let registered = env.wait_registered(NAME, 1, TIMEOUT)?;
        ensure!(registered[0]["port"] == PORT + 1, "{registered:?}");
        Ok(())
    });
}

//! Strangers who are faster than a program that gets the number alone, and helpers who are none.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use anyhow::{Result, ensure};
use portolan_tests::{PATIENCE, Process, World, isolated, servers};

use super::{NAME, PORT, hello, started, when_told};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");

/// Starts a program of this name that listens on the port, beside what runs already.
fn helper(world: &World, name: &str, port: u16) -> Result<Process> {
    let program = world.directory().join(name);
    symlink(BINDER, &program)?;
    let mut command = Command::new(program);
    command.arg(port.to_string());
    let mut helper = world.spawn(name, command)?;
    helper.line(&format!("bound {port}"))?;
    Ok(helper)
}

/// A `docker` that leaves the listening to somebody else.
fn docker(world: &World) -> Result<Vec<String>> {
    let docker = world.write("bin/docker", "#!/bin/sh\nexec sleep 1000\n")?;
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755))?;
    Ok([&docker.display().to_string(), "run", "-p", "{port}:80", "web"].map(str::to_owned).into())
}

#[test]
fn who_cannot_bind_beside_a_guard_is_told_what_to_do() {
    isolated(|world| {
        let script = "import os, socket; socket.socket().bind(('', int(os.environ['PORT'])))";
        let command = servers::python(&["-c", script])?;
        let options = ["--handoff", "guard"];
        let said = world.service(NAME, &options, &command)?.wait(PATIENCE)?.exits(1)?.stderr;
        ensure!(said.contains("Address already in use"), "{said}");
        ensure!(said.contains("choose the hand-over `number`"), "{said}");
        let command = servers::python(&["-c", script])?;
        let number = ["--handoff", "number"];
        world.service(NAME, &number, &command)?.wait(PATIENCE)?.exits(0).map(drop)
    });
}

#[test]
fn where_a_stranger_was_faster_the_program_gets_the_next_port() {
    isolated(|world| {
        let node = servers::node("process.env.PORT")?;
        let mut run = world.service(NAME, &["-v"], &when_told(&node))?;
        run.line("handoff=number")?;
        let _stranger = world.stranger(PORT)?;
        world.write("go", "")?;
        let next = format!(" port={} ", PORT + 1);
        run.line(&next)?;
        let url = format!("http://127.0.0.1:{}", PORT + 1);
        run.until("an answer", || portolan_tests::http::get(&url))?;
        ensure!(hello("node").is_err());
        Ok(())
    });
}

#[test]
fn after_three_ports_it_gives_up_and_names_the_stranger() {
    isolated(|world| {
        let mut run = world.service(NAME, &["-v"], &["sleep", "1000"])?;
        let mut strangers = Vec::new();
        for port in PORT..PORT + 3 {
            run.line(&format!("Program started service_name={NAME} port={port}"))?;
            strangers.push(world.stranger(port)?);
        }
        let said = run.wait(PATIENCE)?.exits(1)?.stderr;
        let own = std::process::id().to_string();
        let last = said.lines().last().unwrap_or_default();
        ensure!(last.contains(&format!("pid {own}")) && last.contains("port 8082"), "{last}");
        ensure!(last.contains("--preferred") && last.contains("--handoff claim"), "{last}");
        Ok(())
    });
}

#[test]
fn a_known_helper_listens_on_behalf_of_docker() {
    isolated(|world| {
        let _registry = world.registry()?;
        let mut run = world.service(NAME, &["-v"], &docker(world)?)?;
        run.line("handoff=claim")?;
        let _proxy = helper(world, "docker-proxy", PORT)?;
        let registered = world.registered_are(NAME, 1, PATIENCE)?;
        ensure!(registered[0]["port"] == PORT, "{registered:?}");
        Ok(())
    });
}

#[test]
fn anybody_else_is_a_stranger_to_docker_too() {
    isolated(|world| {
        let _registry = world.registry()?;
        let mut run = world.service(NAME, &["-v"], &docker(world)?)?;
        run.line("handoff=claim")?;
        let first = started(&run)?;
        let _stranger = helper(world, "some-server", PORT)?;
        run.line(&format!(" port={} ", PORT + 1))?;
        ensure!(started(&run)? != first);
        let _proxy = helper(world, "docker-proxy", PORT + 1)?;
        let registered = world.registered_are(NAME, 1, PATIENCE)?;
        ensure!(registered[0]["port"] == PORT + 1, "{registered:?}");
        Ok(())
    });
}

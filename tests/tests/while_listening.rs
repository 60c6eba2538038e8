//! `portolan register --while-listening`: a service whose program something else has started, as another container of the pod has.

use std::process::Command;

use anyhow::{Result, ensure};
use portolan_tests::{
    Process, TIMEOUT, TestEnv, isolated, over_each_store, portolan_program, wait_for,
};

/// Far longer than a test: only the end of the listener removes the instance.
const REGISTER: [&str; 7] =
    ["register", "web", "--port", "8080", "--while-listening", "--ttl", "1h"];

/// Starts a server as another user, whose processes the command may not inspect.
fn server(env: &TestEnv) -> Result<Process> {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65532", "--clear-groups", "--"]);
    command.args(["redis-server", "--port", "8080", "--save", ""]);
    command.current_dir("/");
    env.spawn("server", command)
}

#[test]
fn service_is_registered_as_long_as_a_program_listens() {
    over_each_store(|env| {
        let _registry = env.settled_registry()?;
        let mut register = env.portolan(&REGISTER)?.spawn("register")?;
        register.wait_for_line("nothing listens on port 8080 yet")?;
        ensure!(env.registered("web")?.is_empty(), "nothing listens");
        for _ in 0..2 {
            let mut server = server(env)?;
            env.wait_registered("web", 1, TIMEOUT)?;
            wait_for("its health", || {
                let found = env.registered("web")?;
                ensure!(found[0]["health"] == "passing", "{found:?}");
                Ok(())
            })?;
            server.kill()?;
            env.wait_registered("web", 0, TIMEOUT)?;
        }
        let _server = server(env)?;
        env.wait_registered("web", 1, TIMEOUT)?;
        register.terminate()?.exits(0)?;
        ensure!(env.registered("web")?.is_empty(), "its command has ended");
        Ok(())
    });
}

/// A pod's containers have one network, processes of their own, and users of their own.
#[test]
fn end_of_a_program_in_another_container_is_noticed() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let mut sidecar = Command::new("unshare");
        sidecar.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        sidecar.arg(portolan_program()?).args(REGISTER).current_dir(env.directory());
        let mut sidecar = env.spawn("sidecar", sidecar)?;
        let mut server = server(env)?;
        env.wait_registered("web", 1, TIMEOUT)?;
        server.kill()?;
        env.wait_registered("web", 0, TIMEOUT)?;
        sidecar.wait_for_line("deregistered web@").map(drop)
    });
}

#[test]
fn udp_and_options_that_contradict_are_refused() {
    isolated(|env| {
        let udp = env.portolan(&REGISTER)?.args(&["--protocol", "udp"]).run()?.exits(2)?;
        ensure!(udp.stderr.contains("portolan run"), "{udp:?}");
        for options in [&["--replace"][..], &["--health", "tcp", "--health-url", "tcp://a:1"]] {
            env.portolan(&REGISTER)?.args(options).run()?.exits(2)?;
        }
        let alone = ["register", "web", "--port", "8080", "--health", "tcp"];
        env.portolan(&alone)?.run()?.exits(2).map(drop)
    });
}

//! Runs the library's examples.

use std::process::Command;

use anyhow::{Result, ensure};
use portolan_tests::{Process, TIMEOUT, TestEnv, isolated};
use rustix::process::Signal;

fn example(env: &TestEnv, name: &str, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new(portolan_tests::target_directory()?.join("examples").join(name));
    ensure!(
        std::path::Path::new(command.get_program()).is_file(),
        "the example {name} is not built; build it with `cargo build -p portolan --examples`"
    );
    command.args(arguments).current_dir(env.directory());
    env.spawn(name, command)
}

#[test]
fn lease_becomes_a_listener_on_its_port() {
    isolated(|env| {
        let lease = example(env, "lease", &[])?.wait(TIMEOUT)?.text()?;
        ensure!(lease.contains("granted 8080") && lease.contains(":8080"), "{lease}");
        let _foreign = env.foreign_listener(8080)?;
        let lease = example(env, "lease", &[])?.wait(TIMEOUT)?.text()?;
        ensure!(lease.contains("granted 8081") && lease.contains(":8081"), "{lease}");
        Ok(())
    });
}

#[test]
fn service_is_discoverable_until_it_deregisters() {
    isolated(|env| {
        let _registry = env.registry()?;
        let mut service = example(env, "service", &[])?;
        service.wait_for_line(" at 127.0.0.1:8080")?;
        let mut watch = example(env, "watch", &["greeter-api"])?;
        watch.wait_for_line("1 instances")?;

        let found = example(env, "blocking", &["greeter-api"])?.wait(TIMEOUT)?.text()?;
        ensure!(found == "127.0.0.1:8080", "{found}");
        let explained = example(env, "discover", &["greeter-api"])?.wait(TIMEOUT)?.text()?;
        ensure!(explained.contains("127.0.0.1:8080"), "{explained}");

        service.signal(Signal::INT)?;
        watch.wait_for_line("deregistered 127.0.0.1:8080")?;
        service.wait(TIMEOUT)?.exits(0)?;
        watch.signal(Signal::INT)?;
        watch.wait(TIMEOUT)?.exits(0).map(drop)
    });
}

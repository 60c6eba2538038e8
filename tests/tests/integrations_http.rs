//! Programs that serve and call services with the library: rolling restarts and crashes under constant load.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, TIMEOUT, TestEnv, isolated, wait_for};
use rustix::process::Signal;
use serde_json::Value;

/// A kind of replica: the example that serves, and the name of its service.
type Server = (&'static str, &'static str);

const AXUM: Server = ("axum_service", "greeter-api");
const TONIC: Server = ("tonic_service", "greeter-grpc");

/// Starts an example of the integrations.
fn example(env: &TestEnv, name: &str) -> Result<Process> {
    let program = portolan_tests::target_directory()?.join("examples").join(name);
    ensure!(
        program.is_file(),
        "the example {name} is not built; build it with `cargo build --workspace --examples`"
    );
    let mut command = Command::new(program);
    command.current_dir(env.directory());
    env.spawn(name, command)
}

/// Starts a load on the service by this caller.
fn load(env: &TestEnv, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_service-load"));
    command.args(arguments).current_dir(env.directory());
    env.spawn("load", command)
}

/// Waits until this many instances are passing.
fn wait_passing(env: &TestEnv, name: &str, count: usize) -> Result<()> {
    wait_for("the instances to be passing", || {
        let known = env.registered(name)?;
        let passing = known.iter().filter(|instance| instance["health"] == "passing").count();
        ensure!(passing == count && known.len() == count, "{known:?}");
        Ok(())
    })
}

fn answered_by(load: &mut Process, replica: &Process) -> Result<()> {
    load.wait_for_line(&format!("answered by hello from {}.", replica.id())).map(drop)
}

fn summary(load: Process) -> Result<Value> {
    load.signal(Signal::TERM)?;
    let mut load = load;
    let text = load.wait(TIMEOUT)?.text()?;
    let last = text.lines().last().context("no summary")?;
    Ok(serde_json::from_str(last)?)
}

/// Replaces three replicas one after the other under constant load. No request fails, and each replica gets some.
fn rolling_restart((server, name): Server, caller: &str) {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let mut replicas = Vec::new();
        for count in 1..=3 {
            replicas.push(example(env, server)?);
            wait_passing(env, name, count)?;
        }
        let mut load = load(env, &[caller, name])?;
        for replica in &replicas {
            answered_by(&mut load, replica)?;
        }
        for replica in &mut replicas {
            replica.signal(Signal::TERM)?;
            replica.wait(TIMEOUT)?.exits(0)?;
            *replica = example(env, server)?;
            wait_passing(env, name, 3)?;
            answered_by(&mut load, replica)?;
        }
        let summary = summary(load)?;
        ensure!(summary["failed"] == 0, "{summary}");
        ensure!(summary["answered"].as_object().map(|by| by.len()) == Some(6), "{summary}");
        Ok(())
    });
}

#[test]
fn rolling_restart_of_axum_replicas_fails_no_request_of_reqwest() {
    rolling_restart(AXUM, "reqwest");
}

#[test]
fn rolling_restart_of_axum_replicas_fails_no_request_of_tower() {
    rolling_restart(AXUM, "tower");
}

#[test]
fn rolling_restart_of_tonic_replicas_fails_no_call() {
    rolling_restart(TONIC, "tonic");
}

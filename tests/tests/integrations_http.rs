//! Programs that serve and call services with the library: rolling restarts and crashes under constant load.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, TIMEOUT, TestEnv, isolated, wait_for};
use rustix::process::Signal;
use serde_json::Value;

/// A kind of replica: the example that serves, and the name of its service.
type Server = (&'static str, &'static str);

/// The number of concurrent requests of a load.
const CALLERS: u64 = 8;

const AXUM: Server = ("axum_service", "greeter-api");
const TONIC: Server = ("tonic_service", "greeter-grpc");

/// Starts an example of the integrations.
fn example(env: &TestEnv, name: &str) -> Result<Process> {
    env.spawn(name, example_command(env, name)?)
}

fn example_command(env: &TestEnv, name: &str) -> Result<Command> {
    let program = portolan_tests::target_directory()?.join("examples").join(name);
    ensure!(
        program.is_file(),
        "the example {name} is not built; build it with `cargo build --workspace --examples`"
    );
    let mut command = Command::new(program);
    command.current_dir(env.directory());
    Ok(command)
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
    finished(load)
}

fn finished(mut load: Process) -> Result<Value> {
    let text = load.wait(TIMEOUT)?.text()?;
    let last = text.lines().last().context("no summary")?;
    Ok(serde_json::from_str(last)?)
}

/// Replaces three replicas one after the other under constant load. No request fails, and each replica gets some. Requests that
/// are not idempotent are not repeated, so none may be in flight to a replica that ends.
fn rolling_restart((server, name): Server, caller: &str) {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let (mut replicas, mut load) = under_load(env, (server, name), &[caller, name, "post"])?;
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

/// Starts three replicas, and a load that has reached each of them.
fn under_load(
    env: &TestEnv,
    (server, name): Server,
    load_of: &[&str],
) -> Result<(Vec<Process>, Process)> {
    let mut replicas = Vec::new();
    for count in 1..=3 {
        replicas.push(example(env, server)?);
        wait_passing(env, name, count)?;
    }
    let mut load = load(env, load_of)?;
    for replica in &replicas {
        answered_by(&mut load, replica)?;
    }
    Ok((replicas, load))
}

/// Kills one of three replicas under constant load, and returns how many requests failed, once the others have answered
/// many more.
fn failed_by_a_kill(env: &TestEnv, server: Server, load_of: &[&str]) -> Result<u64> {
    let _registry = env.settled_registry()?;
    let (mut replicas, load) = under_load(env, server, load_of)?;
    replicas[0].kill()?;
    wait_for_more(&load, &replicas[1..], 300)?;
    let summary = summary(load)?;
    summary["failed"].as_u64().with_context(|| summary.to_string())
}

/// Returns the numbers so far.
fn so_far(load: &Process) -> Result<Value> {
    let before = load.stdout().lines().filter(|line| line.starts_with("so far ")).count();
    load.signal(Signal::USR1)?;
    wait_for("the numbers", || {
        let stdout = load.stdout();
        let line = stdout.lines().filter_map(|line| line.strip_prefix("so far ")).nth(before);
        Ok(serde_json::from_str(line.context("none yet")?)?)
    })
}

fn answered(numbers: &Value, by: &Process) -> u64 {
    numbers["answered"][format!("hello from {}", by.id())].as_u64().unwrap_or_default()
}

/// Waits until these replicas together have answered so many more requests.
fn wait_for_more(load: &Process, replicas: &[Process], count: u64) -> Result<()> {
    let total = || -> Result<u64> {
        let numbers = so_far(load)?;
        Ok(replicas.iter().map(|replica| answered(&numbers, replica)).sum())
    };
    let before = total()?;
    wait_for("more answers", || {
        let now = total()?;
        ensure!(now >= before + count, "{now} after {before}");
        Ok(())
    })
}

/// A POST may be sent again only if it was certainly not sent.
fn kill_fails_only_what_is_in_flight(server: Server, load_of: &[&str]) {
    isolated(|env| {
        let failed = failed_by_a_kill(env, server, load_of)?;
        ensure!(failed <= CALLERS, "{failed} requests failed");
        Ok(())
    });
}

fn kill_fails_nothing(server: Server, load_of: &[&str]) {
    isolated(|env| {
        let failed = failed_by_a_kill(env, server, load_of)?;
        ensure!(failed == 0, "{failed} requests failed");
        Ok(())
    });
}

#[test]
fn examples_of_clients_reach_the_services() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let replicas = [example(env, AXUM.0)?, example(env, TONIC.0)?];
        let clients = [(AXUM, "reqwest_client"), (AXUM, "tower_client"), (TONIC, "tonic_client")];
        for ((_, name), client) in clients {
            wait_passing(env, name, 1)?;
            let output = example(env, client)?.wait(TIMEOUT)?.exits(0)?.stdout;
            let ids = replicas.each_ref().map(Process::id);
            let greets = |id: &u32| output.contains(&format!("hello from {id}"));
            ensure!(ids.iter().any(greets), "{client}: {output}");
        }
        Ok(())
    });
}

/// Under a wrapper, which leases the port and publishes the service, the program publishes nothing.
fn wrapped(handoff: &str) {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let program = portolan_tests::target_directory()?.join("examples").join(AXUM.0);
        let options = ["--handoff", handoff, "--health", "http:/healthz"];
        let mut wrapper = env.service(AXUM.1, &options, &[program])?;
        wait_passing(env, AXUM.1, 1)?;
        let instance = env.registered(AXUM.1)?.remove(0);
        let listening = wrapper.stderr();
        ensure!(listening.contains("is_wrapped=true"), "{listening}");
        let output = example(env, "reqwest_client")?.wait(TIMEOUT)?.exits(0)?.stdout;
        let address = format!("from http://127.0.0.1:{}/", instance["port"]);
        ensure!(output.contains(&address), "{output}");
        wrapper.signal(Signal::TERM)?;
        wrapper.wait(TIMEOUT)?.exits(0)?;
        env.wait_registered(AXUM.1, 0, TIMEOUT).map(drop)
    });
}

#[test]
fn port_in_the_environment_that_nobody_leased_is_bound_or_an_error() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let with_port = |port: &str| -> Result<Process> {
            let mut command = example_command(env, AXUM.0)?;
            command.env("PORT", port);
            env.spawn("with-port", command)
        };
        let _server = with_port("8123")?;
        wait_passing(env, AXUM.1, 1)?;
        let instance = env.registered(AXUM.1)?.remove(0);
        ensure!(instance["port"] == 8123, "{instance}");
        for (port, expected) in [("8123", "8123"), ("80a", "InvalidVariable"), ("0", "not a port")]
        {
            let output = with_port(port)?.wait(TIMEOUT)?.exits(1)?.stderr;
            ensure!(output.contains(expected), "PORT={port}: {output}");
        }
        Ok(())
    });
}

#[test]
fn axum_server_uses_the_socket_that_it_inherits() {
    wrapped("socket");
}

#[test]
fn axum_server_binds_the_port_that_its_wrapper_leased() {
    wrapped("guard");
}

#[test]
fn idempotent_requests_of_reqwest_survive_the_kill_of_a_replica() {
    kill_fails_nothing(AXUM, &["reqwest", AXUM.1]);
}

#[test]
fn idempotent_requests_of_tower_survive_the_kill_of_a_replica() {
    kill_fails_nothing(AXUM, &["tower", AXUM.1]);
}

#[test]
fn kill_of_a_replica_fails_only_posts_of_reqwest_in_flight() {
    kill_fails_only_what_is_in_flight(AXUM, &["reqwest", AXUM.1, "post"]);
}

#[test]
fn kill_of_a_replica_fails_only_posts_of_tower_in_flight() {
    kill_fails_only_what_is_in_flight(AXUM, &["tower", AXUM.1, "post"]);
}

#[test]
fn kill_of_a_replica_fails_only_calls_of_tonic_in_flight() {
    kill_fails_only_what_is_in_flight(TONIC, &["tonic", TONIC.1]);
}

/// Stops one of three replicas, which then accepts connections and answers nothing. It gets a few requests; the others
/// answer all the rest.
fn hanging_replica_gets_few_requests(server: Server, caller: &str) {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let (replicas, load) = under_load(env, server, &[caller, server.1])?;
        let hanging = &replicas[0];
        hanging.signal(Signal::STOP)?;
        let before = answered(&so_far(&load)?, hanging);
        wait_for_more(&load, &replicas[1..], 500)?;
        // The load ends once the requests have ended that the replica still has.
        load.signal(Signal::TERM)?;
        wait_for("the load to stop", || {
            ensure!(load.stdout().contains("stopping"), "it goes on");
            Ok(())
        })?;
        hanging.signal(Signal::CONT)?;
        let summary = finished(load)?;
        // On a busy machine the others were slower just before, and all requests in flight are at this one when it stops.
        let got = answered(&summary, hanging) - before;
        ensure!(got <= CALLERS && summary["failed"] == 0, "{got} more, {summary}");
        Ok(())
    });
}

#[test]
fn hanging_replica_gets_few_requests_of_reqwest() {
    hanging_replica_gets_few_requests(AXUM, "reqwest");
}

#[test]
fn hanging_replica_gets_few_requests_of_tower_that_compares_all() {
    hanging_replica_gets_few_requests(AXUM, "tower-all");
}

/// Every request ends while the replica hangs, also those that it has when it is stopped.
#[test]
fn hanging_replica_delays_no_request_of_tower_that_hedges() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let (replicas, load) = under_load(env, AXUM, &["tower-hedged", AXUM.1])?;
        replicas[0].signal(Signal::STOP)?;
        wait_for_more(&load, &replicas[1..], 500)?;
        let summary = summary(load)?;
        ensure!(summary["failed"] == 0, "{summary}");
        replicas[0].signal(Signal::CONT)
    });
}

#[test]
fn hanging_replica_gets_few_calls_of_tonic() {
    hanging_replica_gets_few_requests(TONIC, "tonic");
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
fn rolling_restart_of_axum_replicas_fails_no_request_of_tower_that_compares_all() {
    rolling_restart(AXUM, "tower-all");
}

#[test]
fn rolling_restart_of_tonic_replicas_fails_no_call() {
    rolling_restart(TONIC, "tonic");
}

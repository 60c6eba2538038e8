//! What happens when something is killed with `kill -9`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_tests::{BRIEFLY, PATIENCE, Process, World, isolated, wait_for, wait_within};
use rustix::process::{Pid, Signal, kill_process};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
/// A short life, so that the test need not wait for long.
const TTL: Duration = Duration::from_secs(3);
/// The slack of every promise about time: one second.
const SLACK: Duration = Duration::from_secs(1);

/// A service that is up and registered where there is a registry.
fn api(world: &World) -> Result<Process> {
    let mut api = world.service("api", &["--ttl", "3s"], &[BINDER, "{port}"])?;
    api.line("bound 8080")?;
    Ok(api)
}

/// The id of the program that `portolan run` started.
fn child(world: &World) -> Result<Pid> {
    let processes = world.processes()?;
    let own = |line: &str| line.starts_with(BINDER);
    let child = processes.iter().find(|(_, line)| own(line)).context("the child is gone")?;
    Pid::from_raw(i32::try_from(child.0)?).context("no process id")
}

fn is_gone(world: &World, name: &str) -> Result<()> {
    let registered = world.registered(name)?;
    ensure!(registered.is_empty(), "still registered: {registered:?}");
    world.discover(name, &BRIEFLY)?.exits(3).map(drop)
}

#[test]
fn a_killed_program_is_gone_within_two_seconds() {
    isolated(|world| {
        let _registry = world.registry()?;
        let mut run = api(world)?;
        world.registered_are("api", 1, PATIENCE)?;
        kill_process(child(world)?, Signal::KILL)?;
        let limit = Duration::from_secs(2);
        world.registered_are("api", 0, limit)?;
        wait_within(limit, "discovery to forget it", || is_gone(world, "api"))?;
        // 128 and the signal's number, as a shell says it.
        run.wait(PATIENCE)?.exits(137).map(drop)
    });
}

#[test]
fn a_killed_wrapper_is_gone_within_its_ttl_and_its_program_keeps_the_port() {
    isolated(|world| {
        let _registry = world.registry()?;
        let mut run = api(world)?;
        world.registered_are("api", 1, PATIENCE)?;
        run.kill()?;
        world.registered_are("api", 0, TTL + SLACK)?;
        child(world).context("the program must live on for this test")?;
        let other = ["ports", "alloc", "other", "--preferred", "8080", "--pool", "api", "--json"];
        let granted = world.portolan(&other)?.run()?.json()?;
        ensure!(granted["port"] != 8080, "the port of a living program was granted: {granted}");
        kill_process(child(world)?, Signal::KILL)?;
        wait_for("the port to be free again", || {
            let granted = world.portolan(&other)?.run()?.json()?;
            ensure!(granted["port"] == 8080, "granted {granted}");
            Ok(())
        })
    });
}

#[test]
fn a_killed_registry_is_whole_again_one_heartbeat_after_its_return() {
    isolated(|world| {
        let mut registry = world.registry()?;
        let _run = api(world)?;
        world.registered_are("api", 1, PATIENCE)?;
        registry.kill()?;
        let found = world.discover("api", &[])?.text()?;
        ensure!(found == "127.0.0.1:8080", "{found}");
        let _registry = world.registry()?;
        // A service with a TTL of 3 s gives a sign of life every second.
        world.registered_are("api", 1, TTL / 3 + SLACK).map(drop)
    });
}

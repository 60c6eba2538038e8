//! Recovery after SIGKILL.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_tests::{
    Process, SHORT_BROADCAST_WAIT, TIMEOUT, TestEnv, over_each_store, wait_for, wait_within,
};
use rustix::process::{Pid, Signal, kill_process};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
/// A short TTL, so that the test does not wait long.
const TTL: Duration = Duration::from_secs(3);
/// The documented tolerance of expiry: one second.
const SLACK: Duration = Duration::from_secs(1);

/// Starts a service and waits until it is registered, if there is a registry.
fn api(env: &TestEnv) -> Result<Process> {
    let mut api = env.service("api", &["--ttl", "3s"], &[BINDER, "{port}"])?;
    api.wait_for_line("bound 8080")?;
    Ok(api)
}

/// Returns the id of the program that `portolan run` started.
fn child(env: &TestEnv) -> Result<Pid> {
    let processes = env.processes()?;
    let own = |line: &str| line.starts_with(BINDER);
    let child = processes.iter().find(|(_, line)| own(line)).context("the child has ended")?;
    Pid::from_raw(i32::try_from(child.0)?).context("no process id")
}

fn is_gone(env: &TestEnv, name: &str) -> Result<()> {
    let registered = env.registered(name)?;
    ensure!(registered.is_empty(), "still registered: {registered:?}");
    env.discover(name, &SHORT_BROADCAST_WAIT)?.exits(3).map(drop)
}

#[test]
fn killed_program_is_deregistered_within_two_seconds() {
    over_each_store(|env| {
        let _registry = env.settled_registry()?;
        let mut run = api(env)?;
        env.wait_registered("api", 1, TIMEOUT)?;
        kill_process(child(env)?, Signal::KILL)?;
        let limit = Duration::from_secs(2);
        env.wait_registered("api", 0, limit)?;
        wait_within(limit, "the service to be gone from discovery", || is_gone(env, "api"))?;
        // 128 plus the signal's number, as in a shell.
        run.wait(TIMEOUT)?.exits(137).map(drop)
    });
}

#[test]
fn registration_expires_after_run_is_killed_and_the_program_keeps_its_port() {
    over_each_store(|env| {
        let _registry = env.registry()?;
        let mut run = api(env)?;
        env.wait_registered("api", 1, TIMEOUT)?;
        env.stop_shims()?;
        run.kill()?;
        env.wait_registered("api", 0, TTL + SLACK)?;
        child(env).context("the program must live on for this test")?;
        let other = ["ports", "alloc", "other", "--preferred", "8080", "--pool", "api", "--json"];
        let granted = env.portolan(&other)?.run()?.json()?;
        ensure!(granted["port"] != 8080, "the port of a living program was granted: {granted}");
        kill_process(child(env)?, Signal::KILL)?;
        wait_for("the port to be free again", || {
            let granted = env.portolan(&other)?.run()?.json()?;
            ensure!(granted["port"] == 8080, "granted {granted}");
            Ok(())
        })
    });
}

#[test]
fn restarted_registry_is_repopulated_within_one_heartbeat() {
    over_each_store(|env| {
        let mut registry = env.registry()?;
        let _run = api(env)?;
        env.wait_registered("api", 1, TIMEOUT)?;
        registry.kill()?;
        let found = env.discover("api", &[])?.text()?;
        ensure!(found == "127.0.0.1:8080", "{found}");
        let _registry = env.registry()?;
        // A service with a TTL of 3 s sends a heartbeat every second.
        env.wait_registered("api", 1, TTL / 3 + SLACK).map(drop)
    });
}

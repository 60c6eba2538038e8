//! Stickiness: a service gets its previous port after a restart and after a reboot.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use portolan_tests::{PortolanCommand, Process, SimulatedBoot, TIMEOUT, TestEnv, isolated};
use rustix::process::{Pid, Signal, kill_process};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
/// Three services of one pool, whose ports depend on the order, and two of other pools.
const SERVICES: [&str; 5] = ["api-1", "postgres-1", "api-2", "redis-1", "api-3"];

/// Ports by service name.
type Ports = BTreeMap<String, u16>;

fn run<'a>(env: &'a TestEnv, name: &str, options: &[&str]) -> Result<PortolanCommand<'a>> {
    let call = env.portolan(&["run", "--name", name])?.args(options);
    Ok(call.args(&["--", BINDER, "{port}"]))
}

/// Starts the program and waits until it has bound its port.
fn bound(call: PortolanCommand<'_>, name: &str) -> Result<(Process, u16)> {
    let mut process = call.spawn(name)?;
    let line = process.wait_for_line("bound ")?;
    let port = line.strip_prefix("bound ").context("no port")?.parse()?;
    Ok((process, port))
}

/// Starts the program, ends it, and returns its port.
fn port_of(call: PortolanCommand<'_>, name: &str) -> Result<u16> {
    let (mut process, port) = bound(call, name)?;
    process.terminate()?;
    Ok(port)
}

/// Starts the services in this order, ends them once all run, and returns their ports.
fn ports_of<'a>(
    env: &TestEnv,
    names: impl IntoIterator<Item = &'a &'a str>,
    boot: Option<&SimulatedBoot>,
) -> Result<Ports> {
    let mut running = Vec::new();
    let mut ports = Ports::new();
    for name in names {
        let call = run(env, name, &[])?;
        let call = boot.into_iter().fold(call, |call, boot| call.in_boot(boot));
        let (process, port) = bound(call, name)?;
        running.push(process);
        ports.insert((*name).to_owned(), port);
    }
    running.iter_mut().try_for_each(|process| process.terminate().map(drop))?;
    Ok(ports)
}

fn expected() -> Ports {
    let ports = [8080, 5432, 8081, 6379, 8082];
    SERVICES.iter().map(|name| (*name).to_owned()).zip(ports).collect()
}

/// Returns the reservation tables in the runtime directory.
fn tables(env: &TestEnv) -> Result<Vec<String>> {
    let entries = fs::read_dir(env.directory().join("run/portolan"))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let is_table = |name: &Result<String>| !name.as_ref().is_ok_and(|name| name == "runs");
    names.filter(is_table).collect()
}

#[test]
fn each_service_gets_its_previous_port_after_a_restart_in_another_order() {
    isolated(|env| {
        let first = ports_of(env, &SERVICES, None)?;
        ensure!(first == expected(), "{first:?}");
        let again = ports_of(env, SERVICES.iter().rev(), None)?;
        ensure!(again == first, "{again:?} is not {first:?}");
        Ok(())
    });
}

#[test]
fn each_service_gets_its_previous_port_after_a_kill() {
    isolated(|env| {
        let start = |name: &str| bound(run(env, name, &[])?, name);
        let mut killed = [start("api-1")?, start("api-2")?];
        for (id, _) in env.processes()? {
            let id = Pid::from_raw(i32::try_from(id)?).context("no process id")?;
            kill_process(id, Signal::KILL)?;
        }
        killed.iter_mut().try_for_each(|(process, _)| process.wait(TIMEOUT).map(drop))?;
        let (second, first) = (start("api-2")?, start("api-1")?);
        ensure!((first.1, second.1) == (8080, 8081), "not {} and {}", first.1, second.1);
        Ok(())
    });
}

#[test]
fn each_service_gets_its_previous_port_after_a_reboot() {
    isolated(|env| {
        let (one, two) = (env.boot(1)?, env.boot(2)?);
        let first = ports_of(env, &SERVICES, Some(&one))?;
        let table = tables(env)?;
        let again = ports_of(env, SERVICES.iter().rev(), Some(&two))?;
        ensure!(first == expected() && again == first, "{again:?} is not {first:?}");
        let new = tables(env)?;
        ensure!(table.len() == 1 && new.len() == 1 && new != table, "{new:?} after {table:?}");
        Ok(())
    });
}

#[test]
fn each_service_gets_its_previous_port_when_the_runtime_directory_is_empty() {
    isolated(|env| {
        let first = ports_of(env, &SERVICES, None)?;
        fs::remove_dir_all(env.directory().join("run/portolan"))?;
        let boot = env.boot(1)?;
        let again = ports_of(env, SERVICES.iter().rev(), Some(&boot))?;
        ensure!(first == expected() && again == first, "{again:?} is not {first:?}");
        Ok(())
    });
}

#[test]
fn service_keeps_its_new_port_after_a_foreign_process_took_the_old_one() {
    isolated(|env| {
        let api = || port_of(run(env, "api", &[])?, "api");
        ensure!(api()? == 8080);
        let foreign = env.foreign_listener(8080)?;
        ensure!(api()? == 8081, "the old port is in use");
        drop(foreign);
        ensure!(api()? == 8081, "the last port is preferred to the first");
        Ok(())
    });
}

#[test]
fn two_working_copies_keep_separate_ports() {
    isolated(|env| {
        let (one, two) = (env.folder("one")?, env.folder("two")?);
        let api = |folder: &Path| bound(run(env, "api", &[])?.directory(folder), "api");
        let (mut first, mut second) = (api(&one)?, api(&two)?);
        ensure!((first.1, second.1) == (8080, 8081));
        first.0.terminate()?;
        second.0.terminate()?;
        let (second, first) = (api(&two)?, api(&one)?);
        ensure!((first.1, second.1) == (8080, 8081), "each service gets its previous port");
        Ok(())
    });
}

#[test]
fn changed_preference_overrides_the_previous_port() {
    isolated(|env| {
        let api = |options: &[&str]| port_of(run(env, "api", options)?, "api");
        let foreign = env.foreign_listener(8085)?;
        ensure!(api(&["--preferred", "8085"])? == 8081, "the preferred port is in use");
        drop(foreign);
        ensure!(api(&["--preferred", "8085"])? == 8081, "the preference has not changed");
        ensure!(api(&["--preferred", "8086"])? == 8086);
        ensure!(api(&["--preferred", "8086"])? == 8086);
        Ok(())
    });
}

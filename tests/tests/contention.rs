//! Many processes request the same port at the same time and bind it later.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, TIMEOUT, TestEnv, isolated, wait_for};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
const PROCESSES: usize = 64;
/// PostgreSQL's default port and the pool's range.
const POOL: std::ops::RangeInclusive<u16> = 5432..=5442;

fn all_at_once(env: &TestEnv, options: &[&str]) -> Result<Vec<Process>> {
    let options = [&["--preferred", "5432", "--pool", "database"], options].concat();
    let start = |number| env.service(&format!("db-{number:02}"), &options, &[BINDER, "{port}"]);
    (1..=PROCESSES).map(start).collect()
}

/// Returns the port that a program reports as bound; `None` if it has not reported yet.
fn bound(process: &Process) -> Result<Option<u16>> {
    let text = process.stdout();
    ensure!(!text.contains("failed"), "a program could not bind its port: {text}");
    let port = text.lines().find_map(|line| line.strip_prefix("bound "));
    Ok(port.map(str::parse).transpose()?)
}

#[test]
fn concurrent_requests_with_ephemeral_ports_get_distinct_ports() {
    isolated(|env| {
        let processes = all_at_once(env, &["--allow-ephemeral"])?;
        let ports: BTreeSet<u16> = processes
            .iter()
            .map(|process| wait_for("its port", || bound(process)?.context("not bound yet")))
            .collect::<Result<_>>()?;
        ensure!(ports.len() == PROCESSES, "{} distinct ports: {ports:?}", ports.len());
        ensure!(
            POOL.clone().all(|port| ports.contains(&port)),
            "the pool was not used up first: {ports:?}"
        );
        Ok(())
    });
}

#[test]
fn exhausted_pool_errors_name_the_holders() {
    isolated(|env| {
        let mut processes = all_at_once(env, &[])?;
        let mut ports = BTreeSet::new();
        let mut holders = Vec::new();
        let mut refused = Vec::new();
        for (number, process) in (1..).zip(&mut processes) {
            let port =
                wait_for("its port or its end", || match (bound(process)?, process.ended()?) {
                    (Some(port), _) => Ok(Some(port)),
                    (None, Some(_)) => Ok(None),
                    (None, None) => anyhow::bail!("neither yet"),
                })?;
            match port {
                Some(port) => {
                    ensure!(ports.insert(port), "{port} was granted twice");
                    holders.push(format!("db-{number:02}"));
                }
                None => refused.push(process.wait(TIMEOUT)?.exits(4)?.stderr),
            }
        }
        ensure!(ports.into_iter().eq(POOL), "the ports granted are not those of the pool");
        for error in &refused {
            let unnamed: Vec<_> =
                holders.iter().filter(|holder| !error.contains(*holder)).collect();
            ensure!(unnamed.is_empty(), "{unnamed:?} are not named in: {error}");
        }
        ensure!(refused.len() == PROCESSES - holders.len());
        Ok(())
    });
}

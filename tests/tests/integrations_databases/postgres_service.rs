//! A PostgreSQL that runs as a service.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use portolan_tests::postgres::{Postgres, psql};
use portolan_tests::{Process, TestEnv, wait_for};
use rustix::process::Signal;
use tokio::time::Instant;

/// The service of all tests.
pub(super) const NAME: &str = "orders-db";

/// Creates the table of all tests, and the user of the programs, who has no other right.
pub(super) const TABLE: &str =
    "CREATE TABLE hits (number bigint); CREATE ROLE app LOGIN; GRANT SELECT, INSERT ON hits TO app";

/// The numbers in the table of the server at this port.
pub(super) fn stored(port: u16) -> Result<HashSet<i64>> {
    let text = psql("127.0.0.1", port, "SELECT number FROM hits")?;
    Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
}

/// A server that runs under `portolan run`.
pub(super) struct PostgresService<'a> {
    env: &'a TestEnv,
    cluster: &'a Postgres,
    wrapper: Process,
    port: u16,
}

// === impl PostgresService ===

impl<'a> PostgresService<'a> {
    /// Starts it on this port, and waits until it answers and is registered.
    pub(super) fn start(
        env: &'a TestEnv,
        cluster: &'a Postgres,
        port: u16,
        role: &str,
    ) -> Result<Self> {
        let (preferred, role) = (port.to_string(), format!("role={role}"));
        let options = ["--preferred", &preferred, "--strict", "--ttl", "1h", "--meta", &role];
        let wrapper = env.service(NAME, &options, &cluster.command("{port}"))?;
        let mut service = Self { env, cluster, wrapper, port };
        service
            .wrapper
            .wait_until("PostgreSQL to answer", || psql("127.0.0.1", port, "select 1"))?;
        service.wrapper.wait_until("PostgreSQL to be registered", || {
            let found = env.registered(NAME)?;
            ensure!(found.iter().any(|one| one["port"] == port), "{found:?}");
            Ok(())
        })?;
        Ok(service)
    }

    /// Kills the server and its wrapper. Returns the time in which its sessions ended.
    pub(super) fn kill(mut self) -> Result<(Instant, Instant)> {
        let begun = Instant::now();
        // Neither deregisters it nor asks it to end.
        self.wrapper.signal(Signal::STOP)?;
        self.cluster.kill()?;
        self.wrapper.kill()?;
        wait_for("the last process of PostgreSQL to end", || {
            ensure!(!self.cluster.is_running()?, "it runs");
            Ok(())
        })?;
        let ended = Instant::now();
        // What is registered by hand at its address stays, whoever listens there.
        let register = ["register", NAME, "--ttl", "1h", "--meta", "role=primary", "--port"];
        self.env.portolan(&register)?.arg(self.port.to_string()).run()?.exits(0)?;
        Ok((begun, ended))
    }

    /// Waits until it has all that the primary has written by now.
    pub(super) fn wait_for_replay(&self, primary: &Self) -> Result<()> {
        let written = primary.query("SELECT pg_current_wal_lsn()")?;
        wait_for("the standby to catch up", || {
            let query = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
            ensure!(self.query(&query)? == "t", "it has not");
            Ok(())
        })
    }

    /// Makes it the primary. Returns the time in which it was both.
    pub(super) fn promote(&self) -> Result<(Instant, Instant)> {
        let begun = Instant::now();
        ensure!(self.query("SELECT pg_promote()")? == "t", "it is not promoted");
        Ok((begun, Instant::now()))
    }

    pub(super) fn query(&self, query: &str) -> Result<String> {
        psql("127.0.0.1", self.port, query)
    }
}

//! Two real PostgreSQL servers and a Redis, all with the same preferred ports, each found by its
//! name by every strategy.

use anyhow::{Context, Result, ensure};
use portolan_tests::dns::{DOMAIN, Dns};
use portolan_tests::postgres::{self, Postgres};
use portolan_tests::{
    ForeignListener, Process, TIMEOUT, TestEnv, isolated, over_each_store, redis,
};
use rustix::process::Signal;

/// The three servers under `portolan run`, and a foreign listener on Redis's port.
struct Servers {
    first: Postgres,
    second: Postgres,
    _foreign: ForeignListener,
    _processes: [Process; 3],
}

/// The expected address of each server while a foreign listener has Redis's port.
const PLACES: [(&str, u16); 3] = [("postgres-1", 5432), ("postgres-2", 5433), ("redis", 6380)];

// === impl Servers ===

impl Servers {
    fn start(env: &TestEnv) -> Result<Self> {
        let foreign = env.foreign_listener(6379)?;
        let first = Postgres::prepare(env, "data-1")?;
        let second = Postgres::prepare(env, "data-2")?;
        let started = |name, port: u16, preferred, command: &[String]| -> Result<Process> {
            let mut run = env.service(name, &["--preferred", preferred], command)?;
            run.wait_until("the server to answer", || match name {
                "redis" => redis::ping(port),
                _ => postgres::psql("127.0.0.1", port, "select 1").map(drop),
            })?;
            Ok(run)
        };
        let processes = [
            started("postgres-1", 5432, "5432", &first.command("{port}"))?,
            started("postgres-2", 5433, "5432", &second.command("{port}"))?,
            started("redis", 6380, "6379", &redis::command("{port}")?)?,
        ];
        Ok(Self { first, second, _foreign: foreign, _processes: processes })
    }

    /// Discovers each server by name with these options, and verifies the identity of each server.
    fn are_found(&self, env: &TestEnv, options: &[&str]) -> Result<()> {
        for (name, port) in PLACES {
            let found = env.discover(name, options)?.text();
            let found = found.with_context(|| format!("{name} with {options:?}"))?;
            ensure!(found == format!("127.0.0.1:{port}"), "{name} with {options:?}: {found}");
            self.is_the_right_one(name, port)?;
        }
        Ok(())
    }

    fn is_the_right_one(&self, name: &str, port: u16) -> Result<()> {
        let expected = match name {
            "postgres-1" => self.first.data_directory(),
            "postgres-2" => self.second.data_directory(),
            _ => return redis::ping(port),
        };
        let found = postgres::data_directory_at("127.0.0.1", port)?;
        ensure!(found == expected, "{name} at {port} keeps its data in {}", found.display());
        Ok(())
    }
}

#[test]
fn registry_finds_each_instance_by_name() {
    over_each_store(|env| {
        let _registry = env.registry()?;
        let servers = Servers::start(env)?;
        servers.are_found(env, &[])?;
        servers.are_found(env, &["--strategy", "registry"])
    });
}

#[test]
fn broadcast_finds_each_instance_without_a_registry() {
    isolated(|env| {
        let servers = Servers::start(env)?;
        servers.are_found(env, &["--strategy", "broadcast"])?;
        servers.are_found(env, &[])
    });
}

#[test]
fn default_strategy_tries_the_default_port_of_a_configured_pool() {
    isolated(|env| {
        env.write(
            "portolan.yaml",
            "port_allocator:\n  services: {orders: queue}\n  port_ranges:\n    queue: {start: 5501, end: 5510, default: 5500}\n",
        )?;
        let mut run = env.service("orders", &[], &redis::command("{port}")?)?;
        run.wait_until("the server to answer", || redis::ping(5500))?;
        let found = env.discover("orders", &["--strategy", "default"])?.text()?;
        ensure!(found == "127.0.0.1:5500", "{found}");
        Ok(())
    });
}

#[test]
fn default_port_is_never_attributed_to_another_instance() {
    isolated(|env| {
        let _servers = Servers::start(env)?;
        let default = ["--strategy", "default"];
        let first = env.discover("postgres-1", &default)?.text()?;
        ensure!(first == "127.0.0.1:5432", "{first}");
        // The port of postgres-2 is 5433; the result must not be postgres-1.
        let second = env.discover("postgres-2", &default)?;
        ensure!(second.code == Some(3) || second.stdout.trim() == "127.0.0.1:5433", "{second:?}");
        // The foreign listener on Redis's port does not speak Redis.
        let redis = env.discover("redis", &default)?;
        ensure!(redis.code == Some(3) || redis.stdout.trim() == "127.0.0.1:6380", "{redis:?}");
        Ok(())
    });
}

#[test]
fn configured_endpoints_find_each_instance() {
    isolated(|env| {
        let servers = Servers::start(env)?;
        let endpoints: String =
            PLACES.iter().map(|(name, port)| format!("    {name}: 127.0.0.1:{port}\n")).collect();
        let file = env.write("known.yaml", &format!("discovery:\n  endpoints:\n{endpoints}"))?;
        let file = file.to_string_lossy();
        servers.are_found(env, &["--config", &file, "--strategy", "config"])
    });
}

#[test]
fn dns_srv_records_find_each_instance() {
    isolated(|env| {
        let servers = Servers::start(env)?;
        let dns = Dns::start(env, 5353, &PLACES)?;
        let settings = format!(
            "discovery:\n  dns:\n    domain: {DOMAIN}\n    servers: [\"{}\"]\n",
            dns.address()
        );
        let file = env.write("dns.yaml", &settings)?;
        let file = file.to_string_lossy();
        servers.are_found(env, &["--config", &file, "--strategy", "dns"])?;
        let unknown = ["--config", &*file, "--strategy", "dns"];
        env.discover("postgres-9", &unknown)?.exits(3).map(drop)
    });
}

#[test]
fn instances_of_the_own_zone_are_selected_first() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        for (port, zone) in [("7101", "zone=eu-1a"), ("7102", "zone=eu-1b"), ("7103", "zone=eu-1c")]
        {
            let register = ["register", "api", "--port", port, "--id", port, "--meta", zone];
            env.portolan(&register)?.args(&["--ttl", "1h"]).run()?.exits(0)?;
        }
        let found = |options: &[&str], all: &[&str]| -> Result<String> {
            let command = [options, &["discover", "api"], all].concat();
            Ok(env.portolan(&command)?.run()?.exits(0)?.stdout)
        };
        // Without the setting the same one is selected every time with a probability of 1 to 3^19.
        for _ in 0..20 {
            let found = found(&["--set", "discovery.zone=eu-1b"], &[])?;
            ensure!(found.trim().ends_with(":7102"), "{found}");
        }
        let all = found(&["--set", "discovery.zone=eu-1c"], &["--all"])?;
        ensure!(all.lines().next().is_some_and(|line| line.contains(":7103")), "{all}");
        // A nearer instance has no precedence over a healthier one.
        env.portolan(&["health", "7103", "passing"])?.run()?.exits(0)?;
        let healthiest = found(&["--set", "discovery.zone=eu-1b"], &[])?;
        ensure!(healthiest.trim().ends_with(":7103"), "{healthiest}");
        Ok(())
    });
}

#[test]
fn registry_that_hangs_does_not_delay_a_race() {
    isolated(|env| {
        let registry = env.settled_registry()?;
        let _server = env.service("redis", &[], &redis::command("{port}")?)?;
        env.wait_registered("redis", 1, TIMEOUT)?;
        registry.signal(Signal::STOP)?;
        // Without a race the lookup would take as long as the timeout of the registry: longer than the test may take.
        let settings = "discovery:\n  race: true\n  strategies: [registry, broadcast]\n  \
                        timeouts: {registry_lookup: 10m, overall: 20m}\n";
        let file = env.write("race.yaml", settings)?;
        let options = ["--config", &file.to_string_lossy(), "--explain"].map(str::to_owned);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let outcome = env.discover("redis", &options)?.exits(0)?;
        ensure!(outcome.stdout.trim() == "127.0.0.1:6379", "{outcome:?}");
        for expected in ["redis is at 127.0.0.1:6379 (broadcast", "could not ask: no answer within"]
        {
            ensure!(outcome.stderr.contains(expected), "{expected} is missing: {outcome:?}");
        }
        registry.signal(Signal::CONT)
    });
}

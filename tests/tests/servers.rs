//! Two real PostgreSQL servers and a Redis, all wanting their standard ports, and each found by
//! its own name in every way there is.

use anyhow::{Context, Result, ensure};
use portolan_tests::dns::{DOMAIN, Dns};
use portolan_tests::postgres::{self, Postgres};
use portolan_tests::{Process, Stranger, World, isolated, redis};

/// The three servers under `portolan run`, and who came before them.
struct Servers {
    first: Postgres,
    second: Postgres,
    _stranger: Stranger,
    _processes: [Process; 3],
}

/// Where each of them must be, when Redis's own port is a stranger's.
const PLACES: [(&str, u16); 3] = [("postgres-1", 5432), ("postgres-2", 5433), ("redis", 6380)];

// === impl Servers ===

impl Servers {
    fn start(world: &World) -> Result<Self> {
        let stranger = world.stranger(6379)?;
        let first = Postgres::prepare(world, "data-1")?;
        let second = Postgres::prepare(world, "data-2")?;
        let started = |name, port: u16, preferred, command: &[String]| -> Result<Process> {
            let mut run = world.service(name, &["--preferred", preferred], command)?;
            run.until("the server to answer", || match name {
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
        Ok(Self { first, second, _stranger: stranger, _processes: processes })
    }

    /// Finds each by its name, with these options, and lets the servers themselves say who they
    /// are.
    fn are_found(&self, world: &World, options: &[&str]) -> Result<()> {
        for (name, port) in PLACES {
            let found = world.discover(name, options)?.text();
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
fn with_a_registry_each_is_found_by_its_name() {
    isolated(|world| {
        let _registry = world.registry()?;
        let servers = Servers::start(world)?;
        servers.are_found(world, &[])?;
        servers.are_found(world, &["--strategy", "registry"])
    });
}

#[test]
fn without_a_registry_broadcast_alone_finds_each() {
    isolated(|world| {
        let servers = Servers::start(world)?;
        servers.are_found(world, &["--strategy", "broadcast"])?;
        servers.are_found(world, &[])
    });
}

#[test]
fn the_default_port_never_stands_for_another_instance() {
    isolated(|world| {
        let _servers = Servers::start(world)?;
        let default = ["--strategy", "default"];
        let first = world.discover("postgres-1", &default)?.text()?;
        ensure!(first == "127.0.0.1:5432", "{first}");
        // Its own port is 5433; whatever this finds, it must not be the first one.
        let second = world.discover("postgres-2", &default)?;
        ensure!(second.code == Some(3) || second.stdout.trim() == "127.0.0.1:5433", "{second:?}");
        // On Redis's port is a stranger, which is no Redis.
        let redis = world.discover("redis", &default)?;
        ensure!(redis.code == Some(3) || redis.stdout.trim() == "127.0.0.1:6380", "{redis:?}");
        Ok(())
    });
}

#[test]
fn a_configuration_file_alone_finds_each() {
    isolated(|world| {
        let servers = Servers::start(world)?;
        let endpoints: String =
            PLACES.iter().map(|(name, port)| format!("    {name}: 127.0.0.1:{port}\n")).collect();
        let file = world.write("known.yaml", &format!("discovery:\n  endpoints:\n{endpoints}"))?;
        let file = file.to_string_lossy();
        servers.are_found(world, &["--config", &file, "--strategy", "config"])
    });
}

#[test]
fn a_real_dns_server_finds_each() {
    isolated(|world| {
        let servers = Servers::start(world)?;
        let dns = Dns::start(world, 5353, &PLACES)?;
        let settings = format!(
            "discovery:\n  dns:\n    domain: {DOMAIN}\n    servers: [\"{}\"]\n",
            dns.address()
        );
        let file = world.write("dns.yaml", &settings)?;
        let file = file.to_string_lossy();
        servers.are_found(world, &["--config", &file, "--strategy", "dns"])?;
        let unknown = ["--config", &*file, "--strategy", "dns"];
        world.discover("postgres-9", &unknown)?.exits(3).map(drop)
    });
}

//! The connection of the crate `redis`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_core::TlsConfig;
use portolan_redis::{RedisConnection, RedisSettings, ServerOptions, TargetRole};
use portolan_tests::{Process, TIMEOUT, TestEnv, isolated, wait_for};
use redis::{Client, RedisConnectionInfo};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::load::Load;
use super::{ACQUIRE, instances, runtime};

const NAME: &str = "sessions";
const PASSWORD: &str = "of the sessions";

/// A Redis that runs under `portolan run`, with its data in a directory.
struct RedisService<'a> {
    env: &'a TestEnv,
    wrapper: Process,
    port: u16,
    /// Empty if it has none.
    password: &'static str,
}

// === impl RedisService ===

impl<'a> RedisService<'a> {
    /// Starts one with the password of the service.
    fn start(env: &'a TestEnv, data: &str, port: u16, role: &str, more: &[&str]) -> Result<Self> {
        Self::start_with(env, data, port, role, more, PASSWORD)
    }

    fn start_with(
        env: &'a TestEnv,
        data: &str,
        port: u16,
        role: &str,
        more: &[&str],
        password: &'static str,
    ) -> Result<Self> {
        let (preferred, role) = (port.to_string(), format!("role={role}"));
        let options = ["--preferred", &preferred, "--strict", "--ttl", "1h", "--meta", &role];
        let directory = env.folder(data)?.display().to_string();
        let mut command = portolan_tests::redis::command("{port}")?;
        for word in ["--dir", &directory, "--appendonly", "yes", "--appendfsync", "always"] {
            command.push(word.to_owned());
        }
        if !password.is_empty() {
            let options = ["--requirepass", password, "--masterauth", password];
            command.extend(options.map(str::to_owned));
        }
        command.extend(more.iter().map(|word| (*word).to_owned()));
        let wrapper = env.service(NAME, &options, &command)?;
        let mut service = Self { env, wrapper, port, password };
        let answers = || ask_with::<String>(port, password, &["PING"]).map(drop);
        service.wrapper.wait_until("Redis to answer", answers)?;
        service.wrapper.wait_until("Redis to be registered", || {
            let found = env.registered(NAME)?;
            ensure!(found.iter().any(|one| one["port"] == port), "{found:?}");
            Ok(())
        })?;
        Ok(service)
    }

    /// Kills the server and its wrapper. Returns the time in which it ended.
    fn kill(mut self) -> Result<(Instant, Instant)> {
        let begun = Instant::now();
        let information: String = ask_with(self.port, self.password, &["INFO", "server"])?;
        let id = information.lines().find_map(|line| line.strip_prefix("process_id:"));
        let id = id.and_then(|id| id.trim().parse().ok()).and_then(Pid::from_raw);
        // Neither deregisters it nor asks it to end.
        self.wrapper.signal(Signal::STOP)?;
        kill_process(id.context("no process id")?, Signal::KILL)?;
        self.wrapper.kill()?;
        wait_for("Redis to be gone", || {
            let answer = ask_with::<String>(self.port, self.password, &["PING"]);
            ensure!(answer.is_err(), "it answers");
            Ok(())
        })?;
        // What is registered by hand at its address stays, whoever listens there.
        let register = ["register", NAME, "--ttl", "1h", "--meta", "role=primary", "--port"];
        self.env.portolan(&register)?.arg(self.port.to_string()).run()?.exits(0)?;
        Ok((begun, Instant::now()))
    }
}

/// Sends a command to the server of the service at this port, with its password.
fn ask<T: redis::FromRedisValue>(port: u16, words: &[&str]) -> Result<T> {
    ask_with(port, PASSWORD, words)
}

fn ask_with<T: redis::FromRedisValue>(port: u16, password: &str, words: &[&str]) -> Result<T> {
    let credentials = match password {
        "" => String::new(),
        password => format!(":{}@", password.replace(' ', "%20")),
    };
    let client = Client::open(format!("redis://{credentials}127.0.0.1:{port}"))?;
    let mut connection = client.get_connection_with_timeout(std::time::Duration::from_secs(5))?;
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    Ok(command.query(&mut connection)?)
}

fn connection(runtime: &Runtime, target: TargetRole) -> Result<RedisConnection> {
    let options = ServerOptions::new(target).acquire_timeout(ACQUIRE);
    let settings = RedisSettings::new(RedisConnectionInfo::default().set_password(PASSWORD));
    Ok(RedisConnection::new(instances(runtime, NAME)?, settings, options))
}

async fn write(mut connection: RedisConnection, number: i64) -> Result<()> {
    Ok(redis::cmd("SADD").arg("hits").arg(number).exec_async(&mut connection).await?)
}

async fn read(mut connection: RedisConnection) -> Result<()> {
    Ok(redis::cmd("SCARD").arg("hits").exec_async(&mut connection).await?)
}

fn stored(port: u16) -> Result<std::collections::HashSet<i64>> {
    ask(port, &["SMEMBERS", "hits"])
}

/// How many commands of this kind the server has executed.
fn calls(port: u16, command: &str) -> Result<u64> {
    let statistics: String = ask(port, &["INFO", "commandstats"])?;
    let prefix = format!("cmdstat_{command}:calls=");
    let line = statistics.lines().find_map(|line| line.strip_prefix(&prefix));
    let count = line.and_then(|line| line.split(',').next());
    Ok(count.map(str::parse).transpose()?.unwrap_or(0))
}

#[test]
fn redis_returns_on_another_port_and_another_server_takes_its_address() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let first = RedisService::start(env, "data", 6501, "primary", &[])?;
        let runtime = runtime()?;
        let connection = connection(&runtime, TargetRole::Primary)?;
        let load =
            Load::start(&runtime, "writers", move |number| write(connection.clone(), number));
        load.wait_for_successes(200)?;

        let outage = first.kill()?;
        let _other = portolan_tests::redis::start(env, 6501)?;
        let _second = RedisService::start(env, "data", 6502, "primary", &[])?;
        load.wait_for_successes(400)?;

        let outcome = load.finish(&runtime)?;
        outcome.check(&[outage])?;
        outcome.check_stored(&stored(6502)?)?;
        // The other server has no password, and no such key.
        let other = Client::open("redis://127.0.0.1:6501")?;
        let exists: bool = redis::cmd("EXISTS").arg("hits").query(&mut other.get_connection()?)?;
        ensure!(!exists, "the other server was reached");
        Ok(())
    });
}

#[test]
fn redis_without_a_password_is_known_by_a_key() {
    const KEY: &str = "portolan:identity";
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let start = |port| RedisService::start_with(env, "data", port, "primary", &[], "");
        let first = start(6501)?;
        ask_with::<String>(6501, "", &["SET", KEY, "sessions"])?;
        let runtime = runtime()?;
        let options = ServerOptions::new(TargetRole::Primary).acquire_timeout(ACQUIRE);
        let settings = RedisSettings::default().identity_key(KEY);
        let connection = RedisConnection::new(instances(&runtime, NAME)?, settings, options);
        let load =
            Load::start(&runtime, "writers", move |number| write(connection.clone(), number));
        load.wait_for_successes(200)?;

        let outage = first.kill()?;
        let _other = portolan_tests::redis::start(env, 6501)?;
        let _second = start(6502)?;
        load.wait_for_successes(400)?;
        load.finish(&runtime)?.check(&[outage])?;
        let reached: u64 = ask_with(6501, "", &["SCARD", "hits"])?;
        ensure!(reached == 0, "the other server was reached");
        Ok(())
    });
}

#[test]
fn commands_follow_the_primary_and_the_replica_through_a_promotion() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let follow = |port: &'static str| ["--replicaof", "127.0.0.1", port];
        let primary = RedisService::start(env, "primary", 6501, "primary", &[])?;
        let _replica = RedisService::start(env, "replica", 6502, "replica", &follow("6501"))?;
        let runtime = runtime()?;
        let writing = connection(&runtime, TargetRole::Primary)?;
        let reading = connection(&runtime, TargetRole::Standby)?;
        let writers =
            Load::start(&runtime, "writers", move |number| write(writing.clone(), number));
        let readers = Load::start(&runtime, "readers", move |_| read(reading.clone()));
        writers.wait_for_successes(200)?;
        readers.wait_for_successes(200)?;
        ensure!(calls(6501, "scard")? == 0, "the primary was read");

        // Both live on and change their roles, whatever the registry says.
        let begun = Instant::now();
        ask::<String>(6502, &["REPLICAOF", "NO", "ONE"])?;
        ask::<String>(6501, &["REPLICAOF", "127.0.0.1", "6502"])?;
        let exchanged = (begun, Instant::now());
        writers.wait_for_successes(400)?;
        readers.wait_for_successes(400)?;
        ensure!(calls(6501, "scard")? > 0, "the new replica was not read");

        // The former primary is killed; a third server is the next replica.
        let killed = primary.kill()?;
        let _next = RedisService::start(env, "next", 6503, "primary", &follow("6502"))?;
        writers.wait_for_successes(400)?;
        readers.wait_for_successes(400)?;

        let (written, read) = (writers.finish(&runtime)?, readers.finish(&runtime)?);
        written.check(&[exchanged])?;
        read.check(&[killed])?;
        let stored = stored(6502)?;
        let later = written.succeeded_since(exchanged.1);
        ensure!(!later.is_empty() && later.iter().all(|number| stored.contains(number)));
        Ok(())
    });
}

#[test]
fn redis_with_tls_is_used_only_with_a_trusted_certificate() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let directory = env.directory().join("ca");
        let ca = |arguments: &[&str]| {
            let directory = directory.to_str().context("path")?;
            env.portolan(&["ca", "--dir", directory])?.args(arguments).run()?.exits(0).map(drop)
        };
        ca(&["init"])?;
        ca(&["issue", NAME, "--subject", "sessions.internal"])?;
        let file = |name: &str| directory.join(name).display().to_string();
        let (certificate, key) = (file("sessions.pem"), file("sessions.key"));
        let mut command = portolan_tests::redis::command("0")?;
        let tls =
            ["--tls-port", "{port}", "--tls-auth-clients", "no", "--tls-cert-file", &certificate];
        command.extend(tls.into_iter().chain(["--tls-key-file", &key]).map(str::to_owned));
        let mut server = env.service(NAME, &["--preferred", "6501", "--strict"], &command)?;
        server.wait_for_line("Ready to accept connections")?;
        env.wait_registered(NAME, 1, TIMEOUT)?;

        let runtime = runtime()?;
        let files = TlsConfig { ca: Some(directory.join("ca.pem")), ..TlsConfig::default() };
        let connection = |name: &str, acquire: Duration| -> Result<RedisConnection> {
            let settings = RedisSettings::default().tls(files.clone(), name)?;
            let options = ServerOptions::new(TargetRole::Primary).acquire_timeout(acquire);
            Ok(RedisConnection::new(instances(&runtime, NAME)?, settings, options))
        };
        let mut trusted = connection("sessions.internal", ACQUIRE)?;
        runtime.block_on(redis::cmd("SET").arg("a").arg(1).exec_async(&mut trusted))?;
        let mut foreign = connection("orders.internal", Duration::from_secs(1))?;
        let refused = runtime.block_on(redis::cmd("GET").arg("a").exec_async(&mut foreign));
        let error = refused.err().context("a server of another name was used")?.to_string();
        ensure!(error.contains("TLS to orders.internal"), "{error}");
        Ok(())
    });
}

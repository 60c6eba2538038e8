//! What registrations and heartbeats cost a registry, compared with an axum server that keeps the same JSON in a map.
//!
//! Each server is a process of its own. The registrations change the port of an instance each time, so that each is a change with
//! a revision, an event and a line in the audit log.

mod map;

use std::net::SocketAddr;

use anyhow::Result;

pub use map::{MAP, serve as serve_map};

use crate::bench_env::BenchEnv;
use crate::load::{Load, Sampled};
use crate::report::{Goal, Row, Unit};
use crate::served::ServedRegistry;
use crate::statistics::median;

const ROUNDS: usize = 5;
const INSTANCES: usize = 1_000;
/// Operations in a batch.
const BATCH: usize = 1_000;

/// The servers: the map, then the registry.
struct Servers {
    map: map::Map,
    registry: ServedRegistry,
}

/// The median of a figure, and that of its ratio.
struct Compared {
    baseline: f64,
    measured: f64,
    ratio: f64,
}

/// Rows for registrations of 16, 64 and 512 clients, for heartbeats, and for batches.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let env = BenchEnv::new()?;
    let servers =
        Servers { map: map::Map::start()?, registry: ServedRegistry::start_open(&env, &[])? };
    let mut rows = Vec::new();
    for (connections, floor) in [(16, 0.7), (64, 0.7), (512, 0.6)] {
        let rounds = measure(servers.loads(&registrations(), connections)?)?;
        rows.extend(beside_the_map(&format!("register, {connections} clients"), &rounds, floor));
    }
    let rounds = measure(servers.loads(&heartbeats(), 64)?)?;
    rows.extend(beside_the_map("heartbeat, 64 clients", &rounds, 0.8));
    rows.push(servers.batch()?);
    Ok(rows)
}

/// A request for each instance and each of two ports.
fn registrations() -> Vec<Vec<u8>> {
    let request = |number: usize| {
        let (instance, port) = (number % INSTANCES, 8000 + number / INSTANCES);
        put(&format!("api-{instance}"), &registration(instance, port))
    };
    (0..2 * INSTANCES).map(request).collect()
}

fn registration(instance: usize, port: usize) -> String {
    let (host, name) = (format!("10.0.{}.{}", instance / 250, 1 + instance % 250), instance % 100);
    format!(
        r#"{{"name": "svc-{name}", "host": "{host}", "port": {port}, "ttl": 3600, "metadata": {{"version": "1.2.3", "zone": "a"}}}}"#
    )
}

fn heartbeats() -> Vec<Vec<u8>> {
    (0..INSTANCES).map(|instance| put(&format!("api-{instance}/heartbeat"), "")).collect()
}

fn put(path: &str, body: &str) -> Vec<u8> {
    request("PUT", &format!("/api/v1/services/{path}"), body)
}

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into()
}

/// For each round, a sample of each server.
fn measure(mut loads: Vec<Load>) -> Result<Vec<Vec<Sampled>>> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(loads.iter_mut().map(Load::sample).collect::<Result<Vec<_>>>()?);
    }
    Ok(rounds)
}

fn beside_the_map(what: &str, rounds: &[Vec<Sampled>], floor: f64) -> [Row; 2] {
    let rate = Compared::of(rounds, |sampled| sampled.rate);
    let cpu = Compared::of(rounds, |sampled| sampled.cpu_micros);
    [
        Row {
            what: format!("{what}: requests a second / map PUT in axum"),
            measured: Unit::PerSecond(rate.measured),
            baseline: Unit::PerSecond(rate.baseline),
            compared: Unit::Times(rate.ratio),
            goal: Goal::AtLeast(floor),
            specified: "",
        },
        Row {
            what: format!("{what}: CPU a request / map PUT in axum"),
            measured: Unit::Micros(cpu.measured),
            baseline: Unit::Micros(cpu.baseline),
            compared: Unit::Times(cpu.ratio),
            goal: Goal::AtMost(1.0 / floor),
            specified: "",
        },
    ]
}

// === impl Servers ===

impl Servers {
    fn loads(&self, requests: &[Vec<u8>], connections: usize) -> Result<Vec<Load>> {
        let of =
            |address: SocketAddr, pid| Load::varying(address, pid, requests.to_vec(), connections);
        Ok(vec![
            of(self.map.address(), self.map.pid())?,
            of(self.registry.address, self.registry.pid())?,
        ])
    }

    /// A batch of registrations beside single ones, one client each.
    fn batch(&self) -> Result<Row> {
        let operation = |port: usize| {
            move |instance| {
                format!(r#"{{"op": "register", "service": {}}}"#, registration(instance, port))
            }
        };
        let batch = |port| {
            let operations: Vec<_> = (0..BATCH).map(operation(port)).collect();
            request(
                "POST",
                "/api/v1/batch",
                &format!(r#"{{"operations": [{}]}}"#, operations.join(",")),
            )
        };
        let (address, pid) = (self.registry.address, self.registry.pid());
        let single = Load::varying(address, pid, registrations(), 1)?;
        let rounds =
            measure(vec![single, Load::varying(address, pid, vec![batch(8000), batch(8001)], 1)?])?;
        let Compared { baseline, measured, ratio } =
            Compared::of(&rounds, |sampled| sampled.cpu_micros);
        Ok(Row {
            what: format!("registration in a batch of {BATCH}: CPU / a single request"),
            measured: Unit::Micros(measured / BATCH as f64),
            baseline: Unit::Micros(baseline),
            compared: Unit::Times(ratio / BATCH as f64),
            goal: Goal::AtMost(0.15),
            specified: "",
        })
    }
}

// === impl Compared ===

impl Compared {
    fn of(rounds: &[Vec<Sampled>], figure: impl Fn(&Sampled) -> f64) -> Self {
        let all = |index: usize| median(rounds.iter().map(|samples| figure(&samples[index])));
        let ratio = rounds.iter().map(|samples| figure(&samples[1]) / figure(&samples[0]));
        Self { baseline: all(0), measured: all(1), ratio: median(ratio) }
    }
}

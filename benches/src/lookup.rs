//! What a lookup costs a registry, compared with a bare hyper server that sends the same bytes, and with Redis.
//!
//! Each server is a process of its own, and 64 connections of this process look up 1,000 services (100 if each has 100 instances).
//! The processor time of the server for each request is the steadier figure: the rate is limited by the load generator as well.

mod bare;
mod redis;

use std::time::Duration;

use anyhow::{Result, ensure};

pub use bare::{BARE, serve as serve_bare};

use crate::bench_env::BenchEnv;
use crate::flood::server::{Client, TOKEN};
use crate::load::{Load, Sampled};
use crate::report::{Goal, Row, Unit};
use crate::served::ServedRegistry;
use crate::statistics::median;

const ROUNDS: usize = 5;
/// The TTL of the registrations, in seconds: longer than the benchmark.
const TTL: u32 = 3600;

/// Rows for services of 1, 10 and 100 instances.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (services, instances) in [(1000, 1), (1000, 10), (100, 100)] {
        rows.extend(rows_of(services, instances)?);
    }
    Ok(rows)
}

fn rows_of(services: usize, instances: usize) -> Result<Vec<Row>> {
    let env = BenchEnv::new()?;
    // Answers are complete after half of the default TTL.
    let settings = ["service_registry.ttl_default=2s".to_owned()];
    let (open, guarded) =
        (ServedRegistry::start_open(&env, &settings)?, ServedRegistry::start(&env, &settings)?);
    for registry in [&open, &guarded] {
        fill(registry, services, instances)?;
    }
    std::thread::sleep(Duration::from_secs(2));
    let bodies = bodies(&open, services)?;
    let bare = bare::Bare::start(&env, &bodies)?;
    let redis = redis::Redis::start(&env, &bodies)?;
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let (plain, with_token) =
        (|number: usize| get(number, ""), |number: usize| get(number, &token));
    let mut loads = vec![
        Load::http(bare.address(), bare.pid(), services, plain)?,
        Load::http(open.address, open.pid(), services, plain)?,
        Load::http(guarded.address, guarded.pid(), services, with_token)?,
    ];
    loads.extend(redis.as_ref().map(|redis| redis.load(services)).transpose()?);
    let rounds = measure(&mut loads)?;
    let what = format!("lookup of {instances} instances");
    let mut rows = vec![
        cpu(&format!("{what}: CPU a request / bare hyper"), &rounds, 1, 1.2),
        cpu(&format!("{what}, with token: CPU a request / bare hyper"), &rounds, 2, 1.3),
        rate(&format!("{what}: requests a second / bare hyper"), &rounds, 0, Goal::Unset),
    ];
    match redis {
        Some(_) => {
            let goal = if instances == 1 { Goal::AtLeast(1.1) } else { Goal::Unset };
            rows.push(rate(&format!("{what}: requests a second / Redis GET"), &rounds, 3, goal));
        }
        None => rows.push(rate(
            &format!("{what}: no redis-server to compare with"),
            &rounds,
            1,
            Goal::Unset,
        )),
    }
    Ok(rows)
}

fn get(number: usize, headers: &str) -> Vec<u8> {
    format!("GET /api/v1/services?name=svc-{number} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
        .into()
}

fn fill(registry: &ServedRegistry, services: usize, instances: usize) -> Result<()> {
    let mut client = Client::connect(registry.address)?;
    for service in 0..services {
        let operation = |instance: usize| {
            format!(
                r#"{{"op": "register", "service": {{"name": "svc-{service}", "host": "10.0.0.{}", "port": {}, "ttl": {TTL}, "metadata": {{"version": "1.2.3", "zone": "a"}}}}}}"#,
                1 + instance,
                1024 + service
            )
        };
        let operations: Vec<_> = (0..instances).map(operation).collect();
        let body = format!(r#"{{"operations": [{}]}}"#, operations.join(","));
        client.request("POST /api/v1/batch", &body)?;
    }
    Ok(())
}

/// The answer for each service.
fn bodies(registry: &ServedRegistry, services: usize) -> Result<Vec<String>> {
    let mut client = Client::connect(registry.address)?;
    let mut body = |number| client.request(&format!("GET /api/v1/services?name=svc-{number}"), "");
    let bodies = (0..services).map(&mut body).collect::<Result<Vec<_>>>()?;
    ensure!(bodies.iter().all(|body| !body.contains("incomplete")), "incomplete answers");
    Ok(bodies)
}

/// For each round, a sample of each server.
fn measure(loads: &mut [Load]) -> Result<Vec<Vec<Sampled>>> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(loads.iter_mut().map(Load::sample).collect::<Result<Vec<_>>>()?);
    }
    Ok(rounds)
}

fn cpu(what: &str, rounds: &[Vec<Sampled>], index: usize, goal: f64) -> Row {
    let of = |index: usize| median(rounds.iter().map(|samples| samples[index].cpu_micros));
    let ratios = rounds.iter().map(|samples| samples[index].cpu_micros / samples[0].cpu_micros);
    Row {
        what: what.to_owned(),
        measured: Unit::Micros(of(index)),
        baseline: Unit::Micros(of(0)),
        compared: Unit::ratios(ratios),
        goal: Goal::AtMost(goal),
        specified: "",
    }
}

fn rate(what: &str, rounds: &[Vec<Sampled>], to: usize, goal: Goal) -> Row {
    let of = |index: usize| median(rounds.iter().map(|samples| samples[index].rate));
    let ratios = rounds.iter().map(|samples| samples[1].rate / samples[to].rate);
    Row {
        what: what.to_owned(),
        measured: Unit::PerSecond(of(1)),
        baseline: Unit::PerSecond(of(to)),
        compared: Unit::ratios(ratios),
        goal,
        specified: "",
    }
}

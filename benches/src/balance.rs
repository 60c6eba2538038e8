//! The latency of requests to three replicas of which one hangs and one is slow, next to three healthy ones.
//!
//! A healthy replica takes 2 ms, as a query of a database does, and a slow one 100 ms. The requests come at a constant rate, whatever
//! became of those before, and the latency counts from the moment at which a request was due. In one case a fresh client
//! meets the replicas in that state; in the other they turn bad while it runs. The caller gives up on an instance after 1 s.
//!
//! Each sample takes about 4 s, and so all of them four minutes.

mod callers;
mod replica;

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use portolan_client::{DiscoveryClient, DiscoveryConfig, ServiceInstances};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::report::{Goal, Row, Unit};
use crate::statistics::{median, percentile};

use callers::{Caller, reqwest, tonic, tower_hedged, tower_of_all, tower_of_two};
use replica::{Behaviour, Replica, grpc, http};

/// How often each case is measured, in turn.
const ROUNDS: usize = 3;
/// The requests of one sample, and those before it that are not measured.
const MEASURED: u32 = 1_000;
const BEFORE: u32 = 200;
/// The time between two requests.
const PACE: Duration = Duration::from_millis(4);
/// How long the callers wait for an instance.
const ATTEMPT: Duration = Duration::from_secs(1);
/// When the caller that hedges sends a request to a second instance: twice the time of a healthy one, and some for the way.
const HEDGE: Duration = Duration::from_millis(6);
/// How long a request may take with all its attempts. Longer than the callers try; a request that is lost ends the benchmark.
const REQUEST: Duration = Duration::from_secs(30);

/// When the replicas turn bad.
#[derive(Clone, Copy, PartialEq)]
enum Case {
    Healthy,
    FromTheStart,
    MidRun,
}

/// What a kind of caller is, and its replicas.
struct Kind {
    name: &'static str,
    replicas: [Replica; 3],
    open: fn(&DiscoveryClient, ServiceInstances) -> Result<Caller>,
}

/// Rows for each kind of caller and case.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut rows = Vec::new();
        for kind in [
            Kind { name: "reqwest", replicas: http().await?, open: reqwest },
            Kind { name: "tonic", replicas: grpc().await?, open: tonic },
            Kind { name: "tower, all compared", replicas: http().await?, open: tower_of_all },
            Kind { name: "tower, hedged", replicas: http().await?, open: tower_hedged },
            Kind {
                name: "tower, two of three compared",
                replicas: http().await?,
                open: tower_of_two,
            },
        ] {
            rows.extend(rows_of(&kind).await.with_context(|| kind.name)?);
        }
        Ok(rows)
    })
}

async fn rows_of(kind: &Kind) -> Result<[Row; 2]> {
    let (mut healthy, mut from_the_start, mut mid_run) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        healthy.push(p99(kind, Case::Healthy).await?);
        from_the_start.push(p99(kind, Case::FromTheStart).await?);
        mid_run.push(p99(kind, Case::MidRun).await?);
    }
    Ok([("from the start", from_the_start), ("while it runs", mid_run)].map(|(when, bad)| Row {
        what: format!("{}: one replica hangs and one is slow {when} / all healthy: p99", kind.name),
        compared: Unit::Times(median(bad.iter().zip(&healthy).map(|(bad, healthy)| bad / healthy))),
        measured: Unit::Millis(median(bad.iter().copied())),
        baseline: Unit::Millis(median(healthy.iter().copied())),
        goal: Goal::AtMost(2.0),
        specified: "",
    }))
}

/// Measures a sample with a fresh client, and returns its 99th percentile in milliseconds.
async fn p99(kind: &Kind, case: Case) -> Result<f64> {
    let spoil = || {
        kind.replicas[0].set(Behaviour::Hanging);
        kind.replicas[1].set(Behaviour::Slow);
    };
    kind.replicas.iter().for_each(|replica| replica.set(Behaviour::Healthy));
    let addresses = kind.replicas.each_ref().map(Replica::address);
    let config = json!({ "endpoints": { "api": addresses }, "strategies": ["config"] });
    let config: DiscoveryConfig = serde_json::from_value(config)?;
    let client: DiscoveryClient = DiscoveryClient::builder().config(config).build()?;
    let caller = (kind.open)(&client, client.instances("api").await?)?;
    if case == Case::FromTheStart {
        spoil();
    } else {
        send(&caller, BEFORE).await?;
    }
    if case == Case::MidRun {
        spoil();
    }
    let latencies = send(&caller, MEASURED).await?;
    drop(caller);
    client.close().await;
    Ok(f64::from(percentile(&latencies, 0.99)) / 1000.0)
}

/// Sends so many requests at a constant rate, and returns their latencies in microseconds.
async fn send(caller: &Caller, count: u32) -> Result<Vec<u32>> {
    let start = Instant::now();
    let mut requests: JoinSet<Result<u32>> = JoinSet::new();
    for number in 0..count {
        let due = start + PACE * number;
        sleep_until(due).await;
        let request = caller();
        requests.spawn(async move {
            let within = timeout(REQUEST, request).await;
            within.map_err(|_| anyhow!("request {number} has no end after {REQUEST:?}"))??;
            Ok(u32::try_from(due.elapsed().as_micros())?)
        });
    }
    let mut latencies = Vec::new();
    while let Some(latency) = requests.join_next().await {
        latencies.push(latency??);
    }
    Ok(latencies)
}

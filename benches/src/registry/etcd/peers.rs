//! Registrations by many writers: through the store `etcd` next to a bare client that makes the same calls, and in a
//! data directory next to the lease and the key of etcd.

use std::future::Future;
use std::time::Instant;

use anyhow::{Result, ensure};
use portolan_etcd::{EtcdClient, Transaction};
use tokio::task::JoinSet;

use super::server::Etcd;
use crate::bench_env::BenchEnv;
use crate::registry::{BenchRegistry, durable, registration, runtime};
use crate::report::{Goal, Row, Unit};
use crate::statistics::median;

const ROUNDS: usize = 7;
const WRITERS: usize = 64;
/// Registrations in a round.
const COUNT: usize = 3_200;
/// The TTL of a lease in etcd, in seconds, as the store grants it for the default TTL.
const LEASE: i64 = 3_660;

/// A row for each.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let etcd = Etcd::start()?;
    let (mut store, mut same_calls, mut local, mut lease_and_put) =
        (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let env = BenchEnv::new()?;
        runtime()?.block_on(async {
            store.push(through_the_store(&etcd, &format!("/store-{round}")).await?);
            same_calls.push(bare(&etcd, format!("/same-{round}"), same_calls_of).await?);
            let data = env.directory().join("data");
            local.push(durable::register(&data, WRITERS, COUNT).await?);
            lease_and_put.push(bare(&etcd, format!("/put-{round}"), lease_and_put_of).await?);
            anyhow::Ok(())
        })?;
    }
    let through =
        format!("registrations over etcd, {WRITERS} writers / a bare client with the same calls");
    let durable = format!("durable registrations, {WRITERS} writers / lease and put in etcd");
    Ok(vec![
        row(through, &store, &same_calls, Goal::AtLeast(0.9)),
        row(durable, &local, &lease_and_put, Goal::AtLeast(5.0)),
    ])
}

fn row(what: String, measured: &[f64], baseline: &[f64], goal: Goal) -> Row {
    let ratios = measured.iter().zip(baseline).map(|(measured, baseline)| measured / baseline);
    Row {
        what,
        measured: Unit::PerSecond(median(measured.iter().copied())),
        baseline: Unit::PerSecond(median(baseline.iter().copied())),
        compared: Unit::Times(median(ratios)),
        goal,
        specified: "",
    }
}

async fn through_the_store(etcd: &Etcd, prefix: &str) -> Result<f64> {
    let opened = BenchRegistry::open(&etcd.config(prefix, COUNT))?;
    while !opened.registry.is_ready() {
        tokio::task::yield_now().await;
    }
    let rate = BenchRegistry::register(&opened.registry, WRITERS, COUNT).await?;
    opened.close().await?;
    Ok(rate)
}

/// Makes the calls of a registration for so many keys, by so many writers at the same time; returns how many a second.
async fn bare<F>(
    etcd: &Etcd,
    prefix: String,
    register: impl Fn(EtcdClient, String, usize) -> F + Send + Clone + 'static,
) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send,
{
    let (start, mut tasks) = (Instant::now(), JoinSet::new());
    let client = etcd.client()?;
    for writer in 0..WRITERS {
        let (client, prefix, register) = (client.clone(), prefix.clone(), register.clone());
        tasks.spawn(async move {
            for number in (writer..COUNT).step_by(WRITERS) {
                register(client.clone(), prefix.clone(), number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(COUNT as f64 / start.elapsed().as_secs_f64())
}

/// A lease, and a transaction with as many comparisons and writes as that of a registration (ADR 0016).
async fn same_calls_of(client: EtcdClient, prefix: String, number: usize) -> Result<()> {
    let (id, place) = (format!("{prefix}/id/{number}"), format!("{prefix}/at/10.0.0.1/{number}/"));
    let lease = client.grant(LEASE).await?;
    let transaction = Transaction::default()
        .if_unchanged(&id, 0)
        .if_none_written_after(&format!("{prefix}/fenced/{number}/"), i64::MAX - 1)
        .if_none_written_after(&place, i64::MAX - 1)
        .put(id, value(number)?, Some(lease))
        .put(format!("{place}{number}"), Vec::new(), Some(lease));
    ensure!(client.transact(transaction).await?.succeeded, "the key exists");
    Ok(())
}

async fn lease_and_put_of(client: EtcdClient, prefix: String, number: usize) -> Result<()> {
    let lease = client.grant(LEASE).await?;
    let put = Transaction::default().put(format!("{prefix}/{number}"), value(number)?, Some(lease));
    client.transact(put).await?;
    Ok(())
}

/// A value about as long as that of the store.
fn value(number: usize) -> Result<Vec<u8>> {
    let mut value = serde_json::to_vec(&registration(number)?)?;
    value.resize(560, b' ');
    Ok(value)
}

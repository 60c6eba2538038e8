//! What a cached lookup of the client costs, compared with an immutable map from names to the same endpoints.
//!
//! Each thread looks up all services in an order of its own, through the public API in a runtime of its own. The figure is the
//! processor time of the thread for each lookup, which other load on the machine affects the least.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use portolan_client::strategy::{
    Position, Strategy, StrategyFuture, StrategyKind, StrategyOutcome, StrategyQuery,
};
use portolan_client::{DiscoveryClient, DiscoveryConfig};
use portolan_core::ServiceEndpoint;
use rustix::time::{ClockId, clock_gettime};

use crate::interleaved::Interleaved;
use crate::report::{Goal, Row, Unit};
use crate::sample::Sample;

const SERVICES: usize = 1_000;
/// How often a thread looks up every service in one sample.
const REPETITIONS: usize = 200;
/// A prime that does not divide [`SERVICES`], so that neighbours in the order are not neighbours in memory.
const STRIDE: usize = 389;

type Map = HashMap<String, Arc<ServiceEndpoint>>;

/// Finds this many instances of every service.
struct Everywhere {
    instances: u16,
}

/// What is measured.
struct Subjects {
    names: Vec<String>,
    map: Map,
    client: DiscoveryClient,
}

/// Rows for one and two threads, and for services of several instances.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (instances, threads) in [(1, 1), (1, 2), (10, 1)] {
        rows.push(row(instances, threads)?);
    }
    Ok(rows)
}

fn row(instances: u16, threads: usize) -> Result<Row> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let subjects = runtime.block_on(Subjects::prepare(instances))?;
    let samples = Interleaved::measure(2, |index| match index {
        0 => subjects.measure(threads, Subjects::read_map),
        _ => subjects.measure(threads, Subjects::discover),
    })?;
    let micros = |sample: &Sample| 1e6 / sample.rate;
    Ok(Row {
        what: format!(
            "cached discovery, {instances} instances, {threads} threads: CPU / immutable map"
        ),
        measured: Unit::Micros(samples.figure(1, micros)),
        baseline: Unit::Micros(samples.figure(0, micros)),
        compared: samples.ratio(1, 0, micros),
        goal: Goal::AtMost(3.0),
        specified: "",
    })
}

// === impl Subjects ===

impl Subjects {
    async fn prepare(instances: u16) -> Result<Self> {
        let mut config = DiscoveryConfig::default();
        config.cache.ttl = Duration::from_secs(3600);
        config.cache.max_entries = SERVICES * 2;
        let builder = DiscoveryClient::builder().config(config);
        let client = builder.strategy(Position::First, Everywhere { instances }).build()?;
        let names: Vec<String> = (0..SERVICES).map(|number| format!("service-{number}")).collect();
        let mut map = HashMap::new();
        for name in &names {
            map.insert(name.clone(), client.discover(name).await?.endpoint);
        }
        Ok(Self { names, map, client })
    }

    /// Lookups a second of processor time, of each thread.
    fn measure(&self, threads: usize, repeat: fn(&Self, &[&str]) -> Result<()>) -> Result<Sample> {
        let times = thread::scope(|scope| {
            let start = |thread| scope.spawn(move || self.time(thread, repeat));
            let running: Vec<_> = (0..threads).map(start).collect();
            let end = |thread: thread::ScopedJoinHandle<'_, Result<Duration>>| {
                thread.join().map_err(|_| anyhow!("a thread panicked"))?
            };
            running.into_iter().map(end).collect::<Result<Vec<_>>>()
        })?;
        let total: Duration = times.iter().sum();
        let lookups = SERVICES * REPETITIONS * threads;
        Ok(Sample { rate: lookups as f64 / total.as_secs_f64(), nanos: vec![] })
    }

    fn time(&self, thread: usize, repeat: fn(&Self, &[&str]) -> Result<()>) -> Result<Duration> {
        let name = |index: usize| self.names[(thread * 13 + index * STRIDE) % SERVICES].as_str();
        let order: Vec<&str> = (0..SERVICES).map(name).collect();
        let began = processor_time();
        repeat(self, &order)?;
        Ok(processor_time() - began)
    }

    fn read_map(&self, order: &[&str]) -> Result<()> {
        for name in (0..REPETITIONS).flat_map(|_| order) {
            black_box(self.map.get(*name).map(Arc::clone).context("a known service")?);
        }
        Ok(())
    }

    fn discover(&self, order: &[&str]) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            for name in (0..REPETITIONS).flat_map(|_| order) {
                black_box(self.client.discover(*name).await?);
            }
            Ok(())
        })
    }
}

/// The processor time that this thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

// === impl Everywhere ===

impl Strategy for Everywhere {
    fn kind(&self) -> StrategyKind {
        StrategyKind::new("everywhere")
    }

    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
        Box::pin(async move {
            let at = |number| query.found_at(Ipv4Addr::new(127, 0, 1, 1).into(), 1024 + number);
            let found = (0..self.instances).map(at).map(|outcome| match outcome {
                StrategyOutcome::Found(candidates) => candidates,
                _ => Vec::new(),
            });
            StrategyOutcome::Found(found.flatten().collect())
        })
    }
}

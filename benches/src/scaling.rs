//! Whether the throughput is independent of the number of leases and of how full the pool is.

use std::time::Duration;

use anyhow::{Context, Result};
use portolan_port_allocator::{Depth, PortAllocatorConfig};

use crate::baseline::Family;
use crate::bench_env::{BenchEnv, HELD, LARGE, MEASURED};
use crate::interleaved::Interleaved;
use crate::report::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::task::{Task, WorkerPool};

const SAMPLE_TIME: Duration = Duration::from_millis(150);
/// The number of processes that hold leases in the rows with many.
const MANY: usize = 200;
const FLAT: Goal = Goal::AtLeast(0.8);

/// Rows for leases of this process, of another one, and of many; then for a pool that fills up.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = beside_own_leases()?;
    rows.extend(beside_leases("1 process", 1)?);
    rows.extend(beside_leases("200 processes", MANY)?);
    rows.extend(in_a_pool_that_fills_up("1 process", 1)?);
    rows.extend(in_a_pool_that_fills_up("200 processes", MANY)?);
    Ok(rows)
}

fn beside_own_leases() -> Result<Vec<Row>> {
    let env = BenchEnv::new()?;
    let mut pool = WorkerPool::start(1)?;
    let counts = [0, 1000, 10_000];
    let samples = Interleaved::measure(counts.len(), |index| {
        pool.hold(&env.config(HELD), counts[index])?;
        measure(&mut pool, &env.config(MEASURED))
    })?;
    Ok(rows_of(&samples, &counts.map(|count| format!("guarded, {count} own leases"))))
}

/// The last row shows how much of a slowdown is that of the system calls.
fn beside_leases(owner: &str, holders: usize) -> Result<Vec<Row>> {
    let env = BenchEnv::new()?;
    let (mut pool, mut holding) = (WorkerPool::start(1)?, WorkerPool::start(holders)?);
    let counts = [0, 1000, 10_000];
    let baseline = [0, 10_000];
    let all = [counts.as_slice(), &baseline].concat();
    let samples = Interleaved::measure(all.len(), |index| {
        holding.hold(&env.config(HELD), all[index] / holders)?;
        if index < counts.len() {
            measure(&mut pool, &env.config(MEASURED))
        } else {
            pool.measure(SAMPLE_TIME, |_| Task::baseline(Family::Dual, MEASURED.start()))
        }
    })?;
    let mut rows =
        rows_of(&samples, &counts.map(|count| format!("guarded, {count} leases of {owner}")));
    let first_baseline = counts.len();
    let what = format!("  system calls alone beside 10000 leases of {owner}");
    rows.push(Row { goal: Goal::Unset, ..row(&samples, first_baseline + 1, first_baseline, what) });
    Ok(rows)
}

/// Without sticky ports, which would not need to search.
fn in_a_pool_that_fills_up(owner: &str, holders: usize) -> Result<Vec<Row>> {
    let env = BenchEnv::new()?;
    let config = env.not_sticky(LARGE);
    let (mut pool, mut holder) = (WorkerPool::start(1)?, WorkerPool::start(holders)?);
    let percents = [0, 50, 95];
    let samples = Interleaved::measure(percents.len(), |index| {
        let count = LARGE.count() * percents[index] / 100 / holders;
        holder.hold(&config, count).context("filling the pool")?;
        measure(&mut pool, &config)
    })?;
    let name = |percent| format!("guarded, pool of 8000 {percent} % full, {owner}");
    Ok(rows_of(&samples, &percents.map(name)))
}

fn measure(pool: &mut WorkerPool, config: &PortAllocatorConfig) -> Result<Sample> {
    pool.measure(SAMPLE_TIME, |_| Ok(Task::Lease { config: config.clone(), depth: Depth::Guarded }))
}

/// Rows that compare each subject with the first.
fn rows_of(samples: &Interleaved, names: &[String]) -> Vec<Row> {
    names
        .iter()
        .enumerate()
        .skip(1)
        .map(|(index, name)| row(samples, index, 0, name.clone()))
        .collect()
}

fn row(samples: &Interleaved, index: usize, limit: usize, what: String) -> Row {
    let rate = |sample: &Sample| sample.rate;
    Row {
        what,
        measured: Unit::PerSecond(samples.figure(index, rate)),
        baseline: Unit::PerSecond(samples.figure(limit, rate)),
        compared: samples.ratio(index, limit, rate),
        goal: FLAT,
        specified: "",
    }
}

//! How soon the ports of a killed owner can be leased again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portolan_core::PortRange;
use portolan_port_allocator::{AllocatorError, Depth, PortAllocator, PortLease};

use crate::baseline;
use crate::bench_env::{BenchEnv, LARGE, request};
use crate::report::{Goal, Row, Unit};
use crate::statistics::median;
use crate::task::WorkerPool;

const ROUNDS: usize = 15;
/// Longer than a reclaim ever takes.
const TIMEOUT: Duration = Duration::from_secs(10);
/// In milliseconds.
const GOAL: Goal = Goal::AtMost(50.0);

/// The time from the signal to the reclaim, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct ReclaimTime {
    /// Until the first port was reclaimed.
    first: f64,
    /// Until all ports were reclaimed.
    all: f64,
}

/// Rows for an owner of one port, and of a thousand.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = rows_of(1)?;
    rows.extend(rows_of(1000)?);
    Ok(rows)
}

fn rows_of(count: u16) -> Result<Vec<Row>> {
    let range = PortRange::new(LARGE.start(), LARGE.start() + count - 1)?;
    let (mut raw, mut leased) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(measure_sockets(range)?);
        leased.push(measure_leases(range)?);
    }
    let row = |what: String, moment: fn(&ReclaimTime) -> f64, goal| {
        let measured = median(leased.iter().map(moment));
        let baseline = Unit::Millis(median(raw.iter().map(moment)));
        let (measured, compared) = (Unit::Millis(measured), Unit::Millis(measured));
        Row { what, measured, baseline, compared, goal, specified: "" }
    };
    let worst = leased.iter().map(|time| time.all).fold(0.0, f64::max);
    let first = row(format!("kill -9 of an owner of {count}: first port"), |it| it.first, GOAL);
    let all = row("  all ports".to_owned(), |it| it.all, GOAL);
    let what = format!("  all ports, the worst of {ROUNDS}");
    let (measured, goal) = (Unit::Millis(worst), Goal::Unset);
    let worst = Row { what, measured, compared: measured, goal, ..all.clone() };
    Ok(match count {
        1 => vec![first, worst],
        _ => vec![first, all, worst],
    })
}

fn measure_sockets(range: PortRange) -> Result<ReclaimTime> {
    let mut owner = WorkerPool::start(1)?;
    owner.bind(range)?;
    measure(owner, range, |port| baseline::bound_alone(port).ok())
}

fn measure_leases(range: PortRange) -> Result<ReclaimTime> {
    let env = BenchEnv::new()?;
    let config = env.not_sticky(range);
    let mut owner = WorkerPool::start(1)?;
    owner.hold(&config, range.count())?;
    let allocator = PortAllocator::new(config)?;
    let mut failed = None;
    let times = measure(owner, range, |port| {
        lease(&allocator, port).unwrap_or_else(|error| {
            failed = Some(error);
            None
        })
    });
    failed.map_or(times, Err)
}

/// Leases this port if it is free.
fn lease(allocator: &PortAllocator, port: u16) -> Result<Option<PortLease>> {
    let only = PortRange::new(port, port)?;
    match allocator.request(request(&format!("next-{port}"), Depth::Guarded)?.range(only)) {
        Ok(lease) => Ok(Some(lease)),
        Err(AllocatorError::NoPortsAvailable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Kills the owner, and takes its ports one after the other.
fn measure<T>(
    mut owner: WorkerPool,
    range: PortRange,
    mut take: impl FnMut(u16) -> Option<T>,
) -> Result<ReclaimTime> {
    ensure!(take(range.start()).is_none(), "a port was free while its owner lived");
    let killed = Instant::now();
    owner.kill()?;
    let mut taken = Vec::with_capacity(range.count());
    let mut first = None;
    for port in range.ports() {
        let port = loop {
            if let Some(port) = take(port) {
                break port;
            }
            ensure!(killed.elapsed() < TIMEOUT, "port {port} stayed taken");
        };
        taken.push(port);
        first.get_or_insert(killed.elapsed());
    }
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let first = millis(first.context("no port")?);
    Ok(ReclaimTime { first, all: millis(killed.elapsed()) })
}

//! How soon the ports of an owner who is killed can be had by others.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portolan_core::PortRange;
use portolan_port_allocator::{AllocatorError, Depth, PortAllocator, PortLease};

use crate::figures::median;
use crate::host::{Host, LARGE, wish};
use crate::raw;
use crate::table::{Goal, Row, Unit};
use crate::task::Crew;

const ROUNDS: usize = 15;
/// Longer than it ever takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Milliseconds.
const GOAL: Goal = Goal::AtMost(50.0);

/// After one death, in milliseconds since the signal was sent.
#[derive(Debug, Clone, Copy)]
struct Death {
    /// When the first port was somebody else's.
    first: f64,
    /// When all were.
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
        raw.push(after_death_of_sockets(range)?);
        leased.push(after_death_of_leases(range)?);
    }
    let row = |what: String, moment: fn(&Death) -> f64, goal| {
        let measured = median(leased.iter().map(moment));
        let limit = Unit::Millis(median(raw.iter().map(moment)));
        let (measured, compared) = (Unit::Millis(measured), Unit::Millis(measured));
        Row { what, measured, limit, compared, goal, specified: "" }
    };
    let worst = leased.iter().map(|death| death.all).fold(0.0, f64::max);
    let first = row(format!("kill -9 of an owner of {count}: first port"), |it| it.first, GOAL);
    let all = row("  all ports".to_owned(), |it| it.all, GOAL);
    let what = format!("  all ports, the worst of {ROUNDS}");
    let (measured, goal) = (Unit::Millis(worst), Goal::Told);
    let worst = Row { what, measured, compared: measured, goal, ..all.clone() };
    Ok(match count {
        1 => vec![first, worst],
        _ => vec![first, all, worst],
    })
}

fn after_death_of_sockets(range: PortRange) -> Result<Death> {
    let mut owner = Crew::of(1)?;
    owner.bind(range)?;
    time_after_death(owner, range, |port| raw::bound_alone(port).ok())
}

fn after_death_of_leases(range: PortRange) -> Result<Death> {
    let host = Host::new()?;
    let config = host.forgetful(range);
    let mut owner = Crew::of(1)?;
    owner.hold(&config, range.count())?;
    let allocator = PortAllocator::new(config)?;
    let mut failed = None;
    let death = time_after_death(owner, range, |port| {
        lease(&allocator, port).unwrap_or_else(|error| {
            failed = Some(error);
            None
        })
    });
    failed.map_or(death, Err)
}

/// This very port, where it can be had.
fn lease(allocator: &PortAllocator, port: u16) -> Result<Option<PortLease>> {
    let only = PortRange::new(port, port)?;
    match allocator.request(wish(&format!("heir-{port}"), Depth::Guarded)?.range(only)) {
        Ok(lease) => Ok(Some(lease)),
        Err(AllocatorError::NoPortsAvailable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Takes the ports one after the other, each as soon as it can be had.
fn time_after_death<T>(
    mut owner: Crew,
    range: PortRange,
    mut take: impl FnMut(u16) -> Option<T>,
) -> Result<Death> {
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
            ensure!(killed.elapsed() < PATIENCE, "port {port} stayed taken");
        };
        taken.push(port);
        first.get_or_insert(killed.elapsed());
    }
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let first = millis(first.context("no port")?);
    Ok(Death { first, all: millis(killed.elapsed()) })
}

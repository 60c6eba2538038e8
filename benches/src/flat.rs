//! Whether allocation is as fast beside ten thousand leases, and in a pool that is nearly full.

use std::time::Duration;

use anyhow::{Context, Result};
use portolan_port_allocator::{Depth, PortAllocatorConfig};

use crate::host::{HELD, Host, LARGE, MEASURED};
use crate::raw::Family;
use crate::slice::Slice;
use crate::table::{Goal, Row, Unit};
use crate::task::{Crew, Task};
use crate::turns::Turns;

const SLICE: Duration = Duration::from_millis(150);
/// How many processes hold leases where many do.
const MANY: usize = 200;
const FLAT: Goal = Goal::AtLeast(0.8);

/// Rows for leases of this process, of another, and of many; then for a pool that fills up.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = beside_own_leases()?;
    rows.extend(beside_leases("1 process", 1)?);
    rows.extend(beside_leases("200 processes", MANY)?);
    rows.extend(in_a_pool_that_fills_up("1 process", 1)?);
    rows.extend(in_a_pool_that_fills_up("200 processes", MANY)?);
    Ok(rows)
}

fn beside_own_leases() -> Result<Vec<Row>> {
    let host = Host::new()?;
    let mut crew = Crew::of(1)?;
    let counts = [0, 1000, 10_000];
    let turns = Turns::of(counts.len(), |index| {
        crew.hold(&host.config(HELD), counts[index])?;
        measure(&mut crew, &host.config(MEASURED))
    })?;
    Ok(rows_of(&turns, &counts.map(|count| format!("guarded, {count} own leases out"))))
}

/// The last row tells how much of a slowdown is the system's own.
fn beside_leases(whose: &str, holders: usize) -> Result<Vec<Row>> {
    let host = Host::new()?;
    let (mut crew, mut holding) = (Crew::of(1)?, Crew::of(holders)?);
    let counts = [0, 1000, 10_000];
    let raw = [0, 10_000];
    let all = [counts.as_slice(), &raw].concat();
    let turns = Turns::of(all.len(), |index| {
        holding.hold(&host.config(HELD), all[index] / holders)?;
        match index < counts.len() {
            true => measure(&mut crew, &host.config(MEASURED)),
            false => crew.measure(SLICE, |_| Task::raw(Family::Dual, MEASURED.start())),
        }
    })?;
    let mut rows =
        rows_of(&turns, &counts.map(|count| format!("guarded, {count} leases by {whose} out")));
    let first_raw = counts.len();
    let what = format!("  the raw loop beside 10000 by {whose}");
    rows.push(Row { goal: Goal::Told, ..row(&turns, first_raw + 1, first_raw, what) });
    Ok(rows)
}

/// Without stickiness, which would find its port whatever the others do.
fn in_a_pool_that_fills_up(whose: &str, holders: usize) -> Result<Vec<Row>> {
    let host = Host::new()?;
    let config = host.forgetful(LARGE);
    let (mut crew, mut holder) = (Crew::of(1)?, Crew::of(holders)?);
    let percents = [0, 50, 95];
    let turns = Turns::of(percents.len(), |index| {
        let count = LARGE.count() * percents[index] / 100 / holders;
        holder.hold(&config, count).context("filling the pool")?;
        measure(&mut crew, &config)
    })?;
    let name = |percent| format!("guarded, pool of 8000 {percent} % full by {whose}");
    Ok(rows_of(&turns, &percents.map(name)))
}

fn measure(crew: &mut Crew, config: &PortAllocatorConfig) -> Result<Slice> {
    crew.measure(SLICE, |_| Ok(Task::Lease { config: config.clone(), depth: Depth::Guarded }))
}

/// Each against the first.
fn rows_of(turns: &Turns, names: &[String]) -> Vec<Row> {
    names
        .iter()
        .enumerate()
        .skip(1)
        .map(|(index, name)| row(turns, index, 0, name.clone()))
        .collect()
}

fn row(turns: &Turns, index: usize, limit: usize, what: String) -> Row {
    let rate = |slice: &Slice| slice.rate;
    Row {
        what,
        measured: Unit::PerSecond(turns.figure(index, rate)),
        limit: Unit::PerSecond(turns.figure(limit, rate)),
        compared: Unit::Times(turns.ratio(index, limit, rate)),
        goal: FLAT,
        specified: "",
    }
}

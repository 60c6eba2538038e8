//! How fast a port is allocated and given back, beside the bare system calls of a guard.

use std::time::Duration;

use anyhow::Result;
use portolan_port_allocator::Depth;

use crate::host::{Host, MEASURED};
use crate::raw::Family;
use crate::slice::Slice;
use crate::table::{Goal, Row, Unit};
use crate::task::{Crew, Task};
use crate::turns::Turns;

const SLICE: Duration = Duration::from_millis(200);
/// What is measured in turns; the first is the limit.
const THINGS: [Thing; 6] = [
    Thing::Raw(Family::Dual),
    Thing::Raw(Family::V4),
    Thing::Lease(Depth::Guarded, Memory::Sticky),
    Thing::Lease(Depth::Guarded, Memory::None),
    Thing::Lease(Depth::Bound, Memory::Sticky),
    Thing::Lease(Depth::Claimed, Memory::Sticky),
];

#[derive(Debug, Clone, Copy)]
enum Thing {
    Raw(Family),
    Lease(Depth, Memory),
}

/// Whether the port of the last run is looked up first, as it is by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Sticky,
    None,
}

/// The rows for one process and for four.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for processes in [1, 4] {
        rows.extend(rows_of(processes)?);
    }
    Ok(rows)
}

fn rows_of(processes: usize) -> Result<Vec<Row>> {
    let host = Host::new()?;
    let mut crew = Crew::of(processes)?;
    let turns = Turns::of(THINGS.len(), |thing| {
        crew.measure(SLICE, |process| THINGS[thing].task(&host, process))
    })?;
    let row = |thing: usize| THINGS[thing].rows(thing, processes, &turns);
    Ok((1..THINGS.len()).flat_map(row).collect())
}

// === impl Thing ===

impl Thing {
    fn task(self, host: &Host, process: usize) -> Result<Task> {
        let lease = |config, depth| Ok(Task::Lease { config, depth });
        match self {
            // Each process on a port of its own, as their leases are.
            Self::Raw(family) => Task::raw(family, MEASURED.start() + process as u16),
            Self::Lease(depth, Memory::Sticky) => lease(host.config(MEASURED), depth),
            Self::Lease(depth, Memory::None) => lease(host.forgetful(MEASURED), depth),
        }
    }

    fn rows(self, index: usize, processes: usize, turns: &Turns) -> Vec<Row> {
        let judged = matches!(self, Self::Lease(Depth::Guarded, _));
        let goal = |goal| if judged { goal } else { Goal::Told };
        let rate = |slice: &Slice| slice.rate;
        let mut rows = vec![Row {
            what: format!("{}, {processes} proc.", self.name()),
            measured: Unit::PerSecond(turns.figure(index, rate)),
            limit: Unit::PerSecond(turns.figure(0, rate)),
            compared: Unit::Times(turns.ratio(index, 0, rate)),
            goal: goal(Goal::AtLeast(0.85)),
            specified: "10,000/s",
        }];
        let of_times = [("p50", 0.5, Goal::Told, ""), ("p99", 0.99, Goal::AtMost(1.5), "5 ms")];
        rows.extend(of_times.map(|(name, share, of_share, specified)| {
            let micros = move |slice: &Slice| slice.micros(share);
            Row {
                what: format!("  {name}"),
                measured: Unit::Micros(turns.figure(index, micros)),
                limit: Unit::Micros(turns.figure(0, micros)),
                compared: Unit::Times(turns.ratio(index, 0, micros)),
                goal: goal(of_share),
                specified,
            }
        }));
        rows
    }

    fn name(self) -> String {
        match self {
            Self::Raw(Family::Dual) => "raw loop on [::]".to_owned(),
            Self::Raw(Family::V4) => "raw loop on 0.0.0.0".to_owned(),
            Self::Lease(depth, Memory::Sticky) => format!("{depth} allocate+release"),
            Self::Lease(depth, Memory::None) => format!("{depth}, sticky off"),
        }
    }
}

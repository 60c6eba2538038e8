//! Throughput and latency of allocate and release, compared with the system calls of a guard.

use std::time::Duration;

use anyhow::Result;
use portolan_port_allocator::Depth;

use crate::baseline::Family;
use crate::bench_env::{BenchEnv, MEASURED};
use crate::interleaved::Interleaved;
use crate::report::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::task::{Task, WorkerPool};

const SAMPLE_TIME: Duration = Duration::from_millis(200);
/// What is measured; the first one is the baseline.
const SUBJECTS: [Subject; 6] = [
    Subject::Baseline(Family::Dual),
    Subject::Baseline(Family::V4),
    Subject::Lease(Depth::Guarded, Stickiness::On),
    Subject::Lease(Depth::Guarded, Stickiness::Off),
    Subject::Lease(Depth::Bound, Stickiness::On),
    Subject::Lease(Depth::Claimed, Stickiness::On),
];

#[derive(Debug, Clone, Copy)]
enum Subject {
    Baseline(Family),
    Lease(Depth, Stickiness),
}

/// Whether sticky ports are on, as they are by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stickiness {
    On,
    Off,
}

/// Rows for one process and for four.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for processes in [1, 4] {
        rows.extend(rows_of(processes)?);
    }
    Ok(rows)
}

fn rows_of(processes: usize) -> Result<Vec<Row>> {
    let env = BenchEnv::new()?;
    let mut pool = WorkerPool::start(processes)?;
    let samples = Interleaved::measure(SUBJECTS.len(), |index| {
        pool.measure(SAMPLE_TIME, |process| SUBJECTS[index].task(&env, process))
    })?;
    let row = |index: usize| SUBJECTS[index].rows(index, processes, &samples);
    Ok((1..SUBJECTS.len()).flat_map(row).collect())
}

// === impl Subject ===

impl Subject {
    fn task(self, env: &BenchEnv, process: usize) -> Result<Task> {
        let lease = |config, depth| Ok(Task::Lease { config, depth });
        match self {
            // Each process uses its own port, as with leases.
            Self::Baseline(family) => Task::baseline(family, MEASURED.start() + process as u16),
            Self::Lease(depth, Stickiness::On) => lease(env.config(MEASURED), depth),
            Self::Lease(depth, Stickiness::Off) => lease(env.not_sticky(MEASURED), depth),
        }
    }

    fn rows(self, index: usize, processes: usize, samples: &Interleaved) -> Vec<Row> {
        let judged = matches!(self, Self::Lease(Depth::Guarded, _));
        let goal = |goal| if judged { goal } else { Goal::Unset };
        let rate = |sample: &Sample| sample.rate;
        let mut rows = vec![Row {
            what: format!("{}, {processes} proc.", self.name()),
            measured: Unit::PerSecond(samples.figure(index, rate)),
            baseline: Unit::PerSecond(samples.figure(0, rate)),
            compared: samples.ratio(index, 0, rate),
            goal: goal(Goal::AtLeast(0.85)),
            specified: "10,000/s",
        }];
        let of_times = [("p50", 0.5, Goal::Unset, ""), ("p99", 0.99, Goal::AtMost(1.5), "5 ms")];
        rows.extend(of_times.map(|(name, share, of_share, specified)| {
            let micros = move |sample: &Sample| sample.micros(share);
            Row {
                what: format!("  {name}"),
                measured: Unit::Micros(samples.figure(index, micros)),
                baseline: Unit::Micros(samples.figure(0, micros)),
                compared: samples.ratio(index, 0, micros),
                goal: goal(of_share),
                specified,
            }
        }));
        rows
    }

    fn name(self) -> String {
        match self {
            Self::Baseline(Family::Dual) => "system calls alone on [::]".to_owned(),
            Self::Baseline(Family::V4) => "system calls alone on 0.0.0.0".to_owned(),
            Self::Lease(depth, Stickiness::On) => format!("{depth} allocate+release"),
            Self::Lease(depth, Stickiness::Off) => format!("{depth}, sticky off"),
        }
    }
}

//! The time to find the first free port behind ten that foreign processes use.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use portolan_core::PortRange;
use portolan_port_allocator::Depth;

use crate::baseline;
use crate::bench_env::{BenchEnv, MEASURED};
use crate::interleaved::Interleaved;
use crate::report::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::task::{Task, WorkerPool};

const SAMPLE_TIME: Duration = Duration::from_millis(200);
const OCCUPIED: u16 = 10;

/// Rows for listening sockets and for sockets that are only bound. The baseline is one socket that fails
/// ten times to bind and then succeeds.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let servers = row("with listeners", listening, Goal::AtMost(1.3))?;
    // Like the guards of another user: they have no entry in this reservation table.
    let sockets = row("that are only bound", only_bound, Goal::Unset)?;
    Ok(vec![servers, sockets])
}

fn row(how: &str, take: fn(u16) -> io::Result<OwnedFd>, goal: Goal) -> Result<Row> {
    let range = PortRange::new(MEASURED.start(), MEASURED.start() + OCCUPIED)?;
    let occupied = (range.start()..range.end()).map(take).collect::<io::Result<Vec<_>>>();
    let _occupied = occupied.with_context(|| format!("the benchmark needs the ports {range}"))?;
    let env = BenchEnv::new()?;
    let mut pool = WorkerPool::start(1)?;
    let config = env.not_sticky(range);
    let tasks = [Task::BaselineSearch { range }, Task::Lease { config, depth: Depth::Guarded }];
    let samples = Interleaved::measure(tasks.len(), |index| {
        pool.measure(SAMPLE_TIME, |_| Ok(tasks[index].clone()))
    })?;
    let micros = |sample: &Sample| 1e6 / sample.rate;
    Ok(Row {
        what: format!("guarded behind {OCCUPIED} ports {how}"),
        measured: Unit::Micros(samples.figure(1, micros)),
        baseline: Unit::Micros(samples.figure(0, micros)),
        compared: samples.ratio(1, 0, micros),
        goal,
        specified: "",
    })
}

fn listening(port: u16) -> io::Result<OwnedFd> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map(OwnedFd::from)
}

fn only_bound(port: u16) -> io::Result<OwnedFd> {
    baseline::bound_alone(port).map_err(io::Error::from)
}

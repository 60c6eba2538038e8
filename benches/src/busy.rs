//! How long it takes to find the first free port behind ten that strangers have.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use portolan_core::PortRange;
use portolan_port_allocator::Depth;

use crate::host::{Host, MEASURED};
use crate::raw;
use crate::slice::Slice;
use crate::table::{Goal, Row, Unit};
use crate::task::{Crew, Task};
use crate::turns::Turns;

const SLICE: Duration = Duration::from_millis(200);
const BUSY: u16 = 10;

/// Rows for servers, and for sockets that nobody listens on. The limit is one socket that fails ten
/// times to bind and then succeeds.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let servers = row("that servers have", listening, Goal::AtMost(1.3))?;
    // As the guards of another user are, who has a table of his own.
    let sockets = row("that are only bound", only_bound, Goal::Told)?;
    Ok(vec![servers, sockets])
}

fn row(how: &str, take: fn(u16) -> io::Result<OwnedFd>, goal: Goal) -> Result<Row> {
    let range = PortRange::new(MEASURED.start(), MEASURED.start() + BUSY)?;
    let busy = (range.start()..range.end()).map(take).collect::<io::Result<Vec<_>>>();
    let _busy = busy.with_context(|| format!("the ports {range} are for the bench"))?;
    let host = Host::new()?;
    let mut crew = Crew::of(1)?;
    let config = host.forgetful(range);
    let tasks = [Task::RawSearch { range }, Task::Lease { config, depth: Depth::Guarded }];
    let turns = Turns::of(tasks.len(), |index| crew.measure(SLICE, |_| Ok(tasks[index].clone())))?;
    let micros = |slice: &Slice| 1e6 / slice.rate;
    Ok(Row {
        what: format!("guarded behind {BUSY} ports {how}"),
        measured: Unit::Micros(turns.figure(1, micros)),
        limit: Unit::Micros(turns.figure(0, micros)),
        compared: Unit::Times(turns.ratio(1, 0, micros)),
        goal,
        specified: "",
    })
}

fn listening(port: u16) -> io::Result<OwnedFd> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map(OwnedFd::from)
}

fn only_bound(port: u16) -> io::Result<OwnedFd> {
    raw::bound_alone(port).map_err(io::Error::from)
}

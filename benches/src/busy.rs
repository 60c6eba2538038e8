//! How long it takes to find the first free port behind ten that strangers have.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result};
use portolan_core::PortRange;
use portolan_port_allocator::Depth;

use crate::host::{Host, MEASURED};
use crate::slice::Slice;
use crate::table::{Goal, Row, Unit};
use crate::task::{Crew, Task};
use crate::turns::Turns;

const SLICE: Duration = Duration::from_millis(200);
const BUSY: u16 = 10;

/// One row: the limit is one socket that fails ten times to bind and then succeeds.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let host = Host::new()?;
    let mut crew = Crew::of(1)?;
    let range = PortRange::new(MEASURED.start(), MEASURED.start() + BUSY)?;
    let _strangers = strangers(range)?;
    let tasks = [
        Task::RawSearch { range },
        Task::Lease { config: host.forgetful(range), depth: Depth::Guarded },
    ];
    let turns = Turns::of(tasks.len(), |index| crew.measure(SLICE, |_| Ok(tasks[index].clone())))?;
    let micros = |slice: &Slice| 1e6 / slice.rate;
    Ok(vec![Row {
        what: format!("guarded behind {BUSY} busy ports"),
        measured: Unit::Micros(turns.figure(1, micros)),
        limit: Unit::Micros(turns.figure(0, micros)),
        compared: Unit::Times(turns.ratio(1, 0, micros)),
        goal: Goal::AtMost(1.3),
        specified: "",
    }])
}

/// Servers of others, on all ports but the last.
fn strangers(range: PortRange) -> Result<Vec<TcpListener>> {
    let listen = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    let listeners = (range.start()..range.end()).map(listen).collect::<std::io::Result<_>>();
    listeners.with_context(|| format!("the ports {range} are for the bench"))
}

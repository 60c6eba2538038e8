//! The audit log: an event with the target `audit` for each grant, refusal, reclaim and release, from
//! the process that causes it.

use std::fmt;

use portolan_reservations::{Depth, Record};
use tracing::info;

use crate::error::AllocatorError;
use crate::request::PortRequest;

/// A port was granted.
pub(crate) fn granted(port: u16, depth: Depth, record: &Record) {
    line("grant", port, record, format_args!("{depth}"), "Port granted");
}

/// A lease was released, or left to a listener or a child.
pub(crate) fn released(port: u16, record: &Record, how: &str) {
    line("release", port, record, format_args!("{how}"), "Port released");
}

/// The slot of an orphaned lease was freed.
pub(crate) fn reclaimed(port: u16, record: &Record) {
    line("reclaim", port, record, format_args!("owner ended"), "Port reclaimed");
}

/// A request was refused.
pub(crate) fn refused(request: &PortRequest, error: &AllocatorError) {
    info!(
        target: "audit",
        action = "refuse",
        service_name = %request.service,
        scope = %request.scope,
        port_name = request.port_name.as_ref().map(|name| name.as_str()),
        preferred_port = request.preferred.first(),
        pid = std::process::id(),
        reason = %OneLine(error),
        "Port refused"
    );
}

/// An error of several lines as one line.
struct OneLine<'a>(&'a AllocatorError);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string().replace("\n  ", "; ").replace('\n', "; "))
    }
}

fn line(action: &str, port: u16, record: &Record, detail: fmt::Arguments<'_>, phrase: &str) {
    info!(
        target: "audit",
        action,
        service_name = %record.service,
        scope = %record.scope,
        port_name = record.port_name.as_ref().map(|name| name.as_str()),
        port,
        pid = record.pid,
        uid = record.uid,
        detail,
        "{phrase}"
    );
}

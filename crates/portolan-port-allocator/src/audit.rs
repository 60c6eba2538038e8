//! The audit log: one line for each port that is granted, refused, reclaimed or given back.
//!
//! Logged where it happens, by whichever process it happens in, with the target `audit`.

use std::fmt;

use portolan_reservations::{Depth, Record};
use tracing::info;

use crate::error::AllocatorError;
use crate::request::PortRequest;

/// A port is a service's own from now on.
pub(crate) fn granted(port: u16, depth: Depth, record: &Record) {
    line("grant", port, record, format_args!("{depth}"), "Port granted");
}

/// A service gave a port back, or left it to who listens on it or inherited it.
pub(crate) fn released(port: u16, record: &Record, how: &str) {
    line("release", port, record, format_args!("{how}"), "Port released");
}

/// A port was taken over from an owner that had ended without giving it back.
pub(crate) fn reclaimed(port: u16, record: &Record) {
    line("reclaim", port, record, format_args!("owner ended"), "Port reclaimed");
}

/// A service got no port.
pub(crate) fn refused(request: &PortRequest, error: &AllocatorError) {
    info!(
        target: "audit",
        action = "refuse",
        service_name = %request.service,
        scope = %request.scope,
        port_name = request.port_name.as_ref().map(|name| name.as_str()),
        preferred_port = request.preferred,
        pid = std::process::id(),
        reason = %OneLine(error),
        "Port refused"
    );
}

/// An error that lists each port on a line of its own, as one line.
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

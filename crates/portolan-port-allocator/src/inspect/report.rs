//! The report about one port.

use std::fmt;

use portolan_host_facts::{SocketOwner, owners_of_ports};
use serde::Serialize;

use crate::grant::binder::{self, BindError};
use crate::lease::holder::Holder;
use crate::shared::Shared;

/// The state of one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortReport {
    /// The port.
    pub port: u16,
    /// Whether it could be granted, and if not, the first reason.
    pub state: PortState,
    /// The lease on it, if one is in force.
    pub holder: Option<Holder>,
    /// The owner of a socket on it: the holder's own process or a foreign process.
    pub bound_by: Option<SocketOwner>,
    /// The pools that contain it.
    pub pools: Vec<String>,
}

/// Whether a port could be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PortState {
    /// It could be granted now.
    Free,
    /// A lease on it is in force.
    Leased,
    /// A foreign process uses it.
    Taken,
    /// It is in `port_allocator.reserved_ports`.
    Reserved,
    /// It needs a privilege that this process does not have.
    NotPermitted,
    /// It is free, but in no pool.
    Outside,
}

// === impl Shared ===

impl Shared {
    /// Inspects one port for TCP, or for TCP and UDP.
    pub(crate) fn report(&self, port: u16, udp: bool) -> PortReport {
        let holder = self.has_table().then(|| self.snapshot().holder(port)).flatten();
        let bound_by = owners_of_ports(&[port]).remove(&port);
        let state = match holder {
            // A leased port is not bound: its holder may be about to bind it.
            Some(_) => PortState::Leased,
            None => self.state_without_lease(port, udp),
        };
        // The owner of connections in TIME-WAIT does not use the port.
        let has_one = matches!(state, PortState::Leased | PortState::Taken);
        let pools = self.policy.pools_with(port).into_iter().map(str::to_owned).collect();
        PortReport { port, state, holder, bound_by: bound_by.filter(|_| has_one), pools }
    }

    fn state_without_lease(&self, port: u16, udp: bool) -> PortState {
        match binder::probe(port, udp) {
            _ if port == 0 => PortState::Outside,
            Err(BindError::NotPermitted) => PortState::NotPermitted,
            Err(_) => PortState::Taken,
            Ok(()) if self.policy.is_reserved(port) => PortState::Reserved,
            Ok(()) if self.policy.allows(port) => PortState::Free,
            Ok(()) => PortState::Outside,
        }
    }
}

// === impl PortReport ===

impl fmt::Display for PortReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.port)?;
        match (self.state, &self.holder, &self.bound_by) {
            (PortState::Free, ..) if self.pools.is_empty() => f.write_str(" is free (in no pool)"),
            (PortState::Free, ..) => write!(f, " is free (pool {})", self.pools.join(", ")),
            (PortState::Leased, Some(holder), bound_by) => {
                write!(f, " is leased to {holder}")?;
                bound_by.iter().try_for_each(|bound_by| write!(f, "; bound by {bound_by}"))
            }
            (PortState::Taken | PortState::Leased, _, bound_by) => {
                let bound_by = bound_by.clone().unwrap_or_default();
                write!(f, " is taken by {bound_by}, without a lease; end it, or use another port")
            }
            (PortState::Reserved, ..) => f.write_str(
                " is never granted; take it out of port_allocator.reserved_ports to change that",
            ),
            (PortState::NotPermitted, ..) => f.write_str(
                " needs a privilege; use a port from 1024 on, or lower net.ipv4.ip_unprivileged_port_start",
            ),
            (PortState::Outside, ..) => f.write_str(
                " is free, but in no pool; add one to port_allocator.port_ranges, or set port_allocator.restrict_to_ranges to false",
            ),
        }
    }
}

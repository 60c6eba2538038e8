//! Why a port was not granted.

use std::collections::HashMap;
use std::fmt;

use portolan_host_facts::{SocketOwner, owners_of_ports};

use crate::inspect::lease_snapshot::LeaseSnapshot;
use crate::lease::holder::Holder;

/// A candidate port that was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The port.
    pub port: u16,
    /// Why it was not granted.
    pub reason: RejectionReason,
}

/// Why a port was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectionReason {
    /// Another service holds a lease on it.
    Leased(Box<Holder>),
    /// A foreign process uses it: one without a lease on it.
    ForeignProcess(SocketOwner),
    /// It is in `port_allocator.reserved_ports`.
    Reserved,
    /// It is in `net.ipv4.ip_local_reserved_ports`, and in no pool.
    SystemReserved,
    /// Browsers refuse to connect to it, and the service speaks HTTP.
    BlockedByBrowsers,
    /// It is in no pool, and `port_allocator.restrict_to_ranges` is true.
    Restricted,
    /// It is below `net.ipv4.ip_unprivileged_port_start` and needs a privilege.
    NotPermitted,
    /// It was in use when it was tried, and is free now.
    FreeByNow,
}

/// Why a search passed over a port, as far as the search itself knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A session holds its slot.
    Leased,
    /// A socket is bound to it.
    InUse,
    /// It is in `reserved_ports`.
    Reserved,
    /// It is in `net.ipv4.ip_local_reserved_ports`.
    SystemReserved,
    /// Browsers refuse to connect to it.
    BlockedByBrowsers,
    /// It is in no pool, and only pools are allowed.
    Restricted,
    /// It needs a privilege.
    NotPermitted,
}

/// Explains why a search passed over these ports, with the processes that hold them now.
pub(crate) fn explain(
    snapshot: &LeaseSnapshot<'_>,
    passed_over: &[(u16, Cause)],
) -> Vec<Rejection> {
    // A claim that is not decided yet has no holder.
    snapshot.wait_for_claims(passed_over.iter().map(|(port, _)| *port));
    let holder = |(port, _): &(u16, Cause)| Some((*port, snapshot.holder(*port)?));
    let mut holders: HashMap<u16, Holder> = passed_over.iter().filter_map(holder).collect();
    let is_unknown = |(port, cause): &&(u16, Cause)| {
        matches!(cause, Cause::Leased | Cause::InUse) && !holders.contains_key(port)
    };
    let unknown: Vec<u16> = passed_over.iter().filter(is_unknown).map(|(port, _)| *port).collect();
    let mut owners = HashMap::new();
    if !unknown.is_empty() {
        owners = owners_of_ports(&unknown);
        // A lease that was granted meanwhile names its service, which says more than its process.
        snapshot.wait_for_claims(unknown.iter().copied());
        holders.extend(unknown.iter().filter_map(|port| Some((*port, snapshot.holder(*port)?))));
    }
    let mut reason = |port, cause| match (cause, holders.remove(&port), owners.remove(&port)) {
        (_, Some(holder), _) => RejectionReason::Leased(Box::new(holder)),
        (Cause::Reserved, ..) => RejectionReason::Reserved,
        (Cause::SystemReserved, ..) => RejectionReason::SystemReserved,
        (Cause::BlockedByBrowsers, ..) => RejectionReason::BlockedByBrowsers,
        (Cause::Restricted, ..) => RejectionReason::Restricted,
        (Cause::NotPermitted, ..) => RejectionReason::NotPermitted,
        (_, None, Some(foreign)) => RejectionReason::ForeignProcess(foreign),
        (Cause::InUse, None, None) => RejectionReason::ForeignProcess(SocketOwner::default()),
        (Cause::Leased, None, None) => RejectionReason::FreeByNow,
    };
    let rejection =
        |(port, cause): &(u16, Cause)| Rejection { port: *port, reason: reason(*port, *cause) };
    passed_over.iter().map(rejection).collect()
}

// === impl Rejection ===

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.reason {
            RejectionReason::Leased(holder) => write!(f, "{port} is held by {holder}"),
            RejectionReason::ForeignProcess(foreign) => write!(f, "{port} is used by {foreign}"),
            RejectionReason::Reserved => {
                write!(f, "{port} is reserved by port_allocator.reserved_ports")
            }
            RejectionReason::SystemReserved => write!(
                f,
                "{port} is reserved by the system (net.ipv4.ip_local_reserved_ports) and in no pool"
            ),
            RejectionReason::BlockedByBrowsers => {
                write!(f, "{port} is refused by browsers, and the service speaks HTTP")
            }
            RejectionReason::Restricted => {
                write!(f, "{port} is in no pool, and port_allocator.restrict_to_ranges is true")
            }
            RejectionReason::NotPermitted => {
                write!(f, "{port} needs a privilege that this process does not have")
            }
            RejectionReason::FreeByNow => write!(f, "{port} was in use a moment ago"),
        }
    }
}

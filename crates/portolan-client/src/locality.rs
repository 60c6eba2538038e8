//! Which instances are near.

use portolan_broadcast::interfaces::is_own_address;
use portolan_core::ServiceEndpoint;

/// The metadata entry with the zone of an instance.
const ZONE: &str = "zone";

/// Whether near instances are preferred: those on this host, then those of this zone, then all others. By default all are equal.
///
/// A nearer instance is preferred only while it is as usable as the others: one that is critical, drains, or to which a caller
/// could not connect has no precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Locality {
    /// Whether instances on this host come first.
    pub(crate) same_host: bool,
    /// The zone of this process.
    pub(crate) zone: Option<String>,
}

// === impl Locality ===

impl Locality {
    /// Returns whether all instances are equal.
    pub(crate) fn is_none(&self) -> bool {
        !self.same_host && self.zone.is_none()
    }

    /// Returns how far away the instance is: 0 on this host, 1 in the zone, 2 elsewhere. What the locality does not ask for
    /// does not count. `is_on_this_host` is called only if it matters.
    pub(crate) fn distance(
        &self,
        endpoint: &ServiceEndpoint,
        is_on_this_host: impl FnOnce() -> bool,
    ) -> u8 {
        if self.same_host && is_on_this_host() {
            return 0;
        }
        let zone = endpoint.metadata.get(ZONE);
        if zone.is_some() && zone == self.zone.as_deref() { 1 } else { 2 }
    }
}

/// Returns whether the instance is on this host. Takes a system call.
pub(crate) fn is_on_this_host(endpoint: &ServiceEndpoint) -> bool {
    endpoint.host.is_loopback() || endpoint.host.address().is_some_and(is_own_address)
}

//! Who holds which port on this host: what tells a service's own port from a stranger's.

use parking_lot::Mutex;
use portolan_core::{Host, Scope, ServiceName};
use portolan_port_allocator::{Holder, PortAllocator, PortAllocatorConfig};

/// The service name under which a registry reserves its own port, so that programs on the same
/// host find it without being told where it is.
pub const REGISTRY_SERVICE: &str = "portolan-registry";

/// A port of this host that a service holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The TCP port.
    pub port: u16,
    /// The service that holds it.
    pub service: ServiceName,
    /// The service's scope.
    pub scope: Scope,
    /// Whether its owner lives. Where only a child of the owner is left, the port is still taken,
    /// but nobody vouches for the service any more.
    pub alive: bool,
}

/// Completeness which ports of this host are held by whom.
pub trait Reservations: Send + Sync {
    /// Every TCP port that is held now.
    fn reservations(&self) -> Result<Vec<Reservation>, ReservationsError>;
}

/// Why the host's reservations cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read who holds which port on this host: {reason}; see what `portolan ports list` says"
)]
pub struct ReservationsError {
    /// What happened.
    pub reason: String,
}

/// The address of the registry that runs on this host in the nearest of the scopes, where one does.
pub fn registry_on_this_host(reservations: &dyn Reservations, scopes: &[Scope]) -> Option<String> {
    // A table that cannot be read names no registry; whoever needs it otherwise says why.
    let held = reservations.reservations().ok()?;
    let registry = scopes.iter().find_map(|scope| {
        held.iter().find(|held| held.service == REGISTRY_SERVICE && held.scope == *scope)
    })?;
    Some(format!("http://{}", Host::loopback().with_port(registry.port)))
}

impl Reservations for PortAllocator {
    fn reservations(&self) -> Result<Vec<Reservation>, ReservationsError> {
        // A lease is of TCP, or of TCP and UDP.
        let reservation = |Holder { port, service, scope, alive, .. }| Reservation {
            port,
            service,
            scope,
            alive,
        };
        Ok(self.holders().into_iter().map(reservation).collect())
    }
}

/// An allocator that is opened when it is first asked.
pub(crate) struct Lazy {
    config: PortAllocatorConfig,
    open: Mutex<Option<PortAllocator>>,
}

// === impl Lazy ===

impl Lazy {
    pub(crate) fn new(config: PortAllocatorConfig) -> Self {
        Self { config, open: Mutex::default() }
    }

    fn allocator(&self) -> Result<PortAllocator, ReservationsError> {
        let mut open = self.open.lock();
        if let Some(allocator) = &*open {
            return Ok(allocator.clone());
        }
        let allocator = PortAllocator::new(self.config.clone())
            .map_err(|error| ReservationsError { reason: error.to_string() })?;
        Ok(open.insert(allocator).clone())
    }
}

impl Reservations for Lazy {
    fn reservations(&self) -> Result<Vec<Reservation>, ReservationsError> {
        self.allocator()?.reservations()
    }
}

#[cfg(test)]
mod tests;

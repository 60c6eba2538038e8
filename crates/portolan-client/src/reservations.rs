//! Who holds which port on this host: what tells a service's own port from a stranger's.

use portolan_core::{Host, Scope, ServiceName};

/// The service name under which a registry reserves its own port.
const REGISTRY: &str = "portolan-registry";

/// A port of this host that a service holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The TCP port.
    pub port: u16,
    /// The service that holds it.
    pub service: ServiceName,
    /// The service's scope.
    pub scope: Scope,
}

/// Knows which ports of this host are held by whom.
pub trait Reservations: Send + Sync {
    /// Every TCP port that is held now.
    fn reservations(&self) -> Result<Vec<Reservation>, ReservationsError>;
}

/// Why the host's reservations cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read who holds which port on this host: {reason}; run `portolan doctor`")]
pub struct ReservationsError {
    /// What happened.
    pub reason: String,
}

/// The address of the registry that runs on this host in the nearest of the scopes, where one does.
pub(crate) fn registry_on_this_host(
    reservations: &dyn Reservations,
    scopes: &[Scope],
) -> Option<String> {
    // A table that cannot be read names no registry; whoever needs it otherwise says why.
    let held = reservations.reservations().ok()?;
    let registry = scopes.iter().find_map(|scope| {
        held.iter().find(|held| held.service == REGISTRY && held.scope == *scope)
    })?;
    Some(format!("http://{}", Host::loopback().with_port(registry.port)))
}

/// TEMPORARY until the allocator is there.
pub(crate) struct Lazy;

impl Reservations for Lazy {
    fn reservations(&self) -> Result<Vec<Reservation>, ReservationsError> {
        Ok(Vec::new())
    }
}

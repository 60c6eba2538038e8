//! Who holds which port on this host: distinguishes a service's own port from a foreign listener's.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use portolan_core::{Host, Remedy, Scope, ServiceName};

/// The service name under which a registry reserves its port, so that programs on the same host
/// find the registry without configuration.
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
    /// Whether the owner process is alive. If only a child process is left, the port is still held,
    /// but the service counts as gone.
    pub alive: bool,
}

/// The source of this host's reservations, such as a port allocator.
pub trait Reservations: Send + Sync {
    /// Returns every TCP port that is held now.
    fn reservations(&self) -> Result<Vec<Reservation>, ReservationsError>;

    /// Returns the Unix socket of the registry that listens on this port of this host at the first of these addresses that has one, if
    /// nobody but this user and root can have made it.
    fn registry_socket(&self, _addresses: &[IpAddr], _port: u16) -> Option<PathBuf> {
        None
    }

    /// Returns the user who listens on this TCP port of loopback, if that is not a user as which a registry may run: this
    /// one, root, or one that is configured.
    fn foreign_listener(&self, _port: u16) -> Option<String> {
        None
    }
}

/// The reservations that a client uses if its builder is given none: the type parameter of
/// [`DiscoveryClient`](crate::DiscoveryClient).
pub trait HostDefaults: Clone + Send + Sync + 'static {
    /// Returns the reservations of this host, or `None` if nothing knows them.
    fn reservations() -> Option<Arc<dyn Reservations>>;
}

/// A host whose reservations are not known. The strategy `default` then trusts only the ports in
/// `discovery.default_ports`.
#[derive(Debug, Clone, Copy)]
pub struct UnknownHost;

/// Why the host's reservations cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the port reservations of this host: {reason}")]
pub struct ReservationsError {
    /// What happened.
    pub reason: String,
}

/// Returns the URL of the registry that runs on this host in the first of the scopes that has one.
pub(crate) fn registry_on_this_host(
    reservations: &dyn Reservations,
    scopes: &[Scope],
) -> Option<String> {
    // An unreadable table names no registry; the strategy `default` reports the error.
    let held = reservations.reservations().ok()?;
    let registry = scopes.iter().find_map(|scope| {
        held.iter().find(|held| held.service == REGISTRY_SERVICE && held.scope == *scope)
    })?;
    Some(format!("http://{}", Host::loopback().with_port(registry.port)))
}

// === impl UnknownHost ===

impl HostDefaults for UnknownHost {
    fn reservations() -> Option<Arc<dyn Reservations>> {
        None
    }
}

// === impl ReservationsError ===

impl Remedy for ReservationsError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some("run `portolan ports list` for details".into())
    }
}

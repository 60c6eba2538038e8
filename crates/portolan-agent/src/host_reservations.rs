//! The port reservations of this host as a source for discovery clients.

use std::net::IpAddr;
use std::path::PathBuf;

use parking_lot::Mutex;
use portolan_client::{Reservation, Reservations, ReservationsError};
use portolan_host_facts::{
    Deputies, ProcessFamily, foreign_listener, listening_users, registry_socket, user_name,
};
use portolan_port_allocator::{Holder, PortAllocator, PortAllocatorConfig};

/// Reads the leases in the reservation table of this host.
#[derive(Debug)]
pub struct HostReservations {
    config: PortAllocatorConfig,
    open: Mutex<Option<PortAllocator>>,
    registry_user: Option<String>,
}

// === impl HostReservations ===

impl HostReservations {
    /// Creates a reader of the table of these settings. The first read opens the table.
    pub fn new(config: PortAllocatorConfig) -> Self {
        Self { config, open: Mutex::default(), registry_user: None }
    }

    /// Sets a user as which a registry on this host may run, by name or number, beside this user and root.
    pub fn registry_user(mut self, user: Option<String>) -> Self {
        self.registry_user = user;
        self
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

impl Reservations for HostReservations {
    fn reservations(&self) -> Result<Vec<Reservation>, ReservationsError> {
        let holders = self.allocator()?.holders();
        let listening = if holders.is_empty() { Vec::new() } else { listening_users() };
        // Every lease includes TCP.
        let reservation = |holder: Holder| {
            let alive = holder.alive && !is_usurped(&holder, &listening);
            let Holder { port, service, scope, .. } = holder;
            Reservation { port, service, scope, alive }
        };
        Ok(holders.into_iter().map(reservation).collect())
    }

    fn registry_socket(&self, addresses: &[IpAddr], port: u16) -> Option<PathBuf> {
        registry_socket::find(&self.config.runtime_directory().ok()?, addresses, port)
    }

    fn foreign_listener(&self, port: u16) -> Option<String> {
        foreign_listener(port, self.registry_user.as_deref())
    }
}

/// Whether a process of another user listens on the port that does not descend from the holder: then a client
/// would get the answer of that user. Root may listen for everybody, as docker-proxy does.
fn is_usurped(holder: &Holder, listening: &[(u16, u32)]) -> bool {
    let mut users = listening.iter().filter(|(port, _)| *port == holder.port).map(|(_, uid)| *uid);
    users.any(|uid| uid != 0 && user_name(uid) != holder.user)
        && ProcessFamily::of(holder.pid).listeners_on(holder.port, Deputies::NONE).foreign.is_some()
}

#[cfg(test)]
mod tests;

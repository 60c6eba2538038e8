//! The port reservations of this host as a source for discovery clients.

use parking_lot::Mutex;
use portolan_client::{Reservation, Reservations, ReservationsError};
use portolan_port_allocator::{Holder, PortAllocator, PortAllocatorConfig};

/// Reads the leases in the reservation table of this host.
#[derive(Debug)]
pub struct HostReservations {
    config: PortAllocatorConfig,
    open: Mutex<Option<PortAllocator>>,
}

// === impl HostReservations ===

impl HostReservations {
    /// Creates a reader of the table of these settings. The first read opens the table.
    pub fn new(config: PortAllocatorConfig) -> Self {
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

impl Reservations for HostReservations {
    fn reservations(&self) -> Result<Vec<Reservation>, ReservationsError> {
        // Every lease includes TCP.
        let reservation = |Holder { port, service, scope, alive, .. }| Reservation {
            port,
            service,
            scope,
            alive,
        };
        Ok(self.allocator()?.holders().into_iter().map(reservation).collect())
    }
}

#[cfg(test)]
mod tests;

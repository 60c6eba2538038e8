//! The defaults of a discovery client on this host.

use std::sync::Arc;

use portolan_client::{HostDefaults, Reservations};

/// This host: on Linux, the reservations in the table of the port allocator with default settings.
/// On other systems the reservations are not known.
#[derive(Debug, Clone, Copy)]
pub struct ThisHost;

// === impl ThisHost ===

impl HostDefaults for ThisHost {
    #[cfg(target_os = "linux")]
    fn reservations() -> Option<Arc<dyn Reservations>> {
        Some(Arc::new(portolan_agent::HostReservations::new(Default::default())))
    }

    #[cfg(not(target_os = "linux"))]
    fn reservations() -> Option<Arc<dyn Reservations>> {
        None
    }
}

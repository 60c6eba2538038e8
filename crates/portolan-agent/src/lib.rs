//! The agent publishes one service while it runs.
//!
//! An [`Agent`] registers its service and announces it, answers queries for it, checks its health,
//! renews its lease in the registry, registers it again if the registry lost it, and deregisters it
//! when the agent stops. The agent does not manage the service's process or port.
//!
//! The desired state of the service is kept in one place. Two independent links, one to the registry
//! and one to the broadcast channel, reconcile their side with it and retry after failures, so a
//! slow or unreachable registry does not delay announcements.

mod addresses;
mod agent;
mod backoff;
mod broadcast_link;
mod builder;
mod error;
mod host;
mod host_id;
#[cfg(target_os = "linux")]
mod host_reservations;
mod registry_link;
mod session_link;
mod settings;

pub use addresses::{AdvertisedAddresses, with_advertised_addresses};
pub use agent::Agent;
pub use builder::AgentBuilder;
pub use error::AgentError;
pub use host::{advertised_host, resolved_loopback};
#[cfg(target_os = "linux")]
pub use host_reservations::HostReservations;

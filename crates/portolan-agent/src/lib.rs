//! Keeps one service findable for as long as it lives.
//!
//! An [`Agent`] registers its service and announces it, answers queries for it, checks its health,
//! keeps it alive in the registry, registers it again where the registry forgot it, and takes it
//! out when it stops. The service itself, its process and its port are not known here.
//!
//! What is to be known of the service stands in one place; two links, one to the registry and one
//! to the broadcast channel, each bring their side in step with it. So a registry that is slow or
//! gone never keeps the channel from hearing, and what was missed is made up for by itself.

mod agent;
mod broadcast_link;
mod builder;
mod error;
mod host;
#[cfg(target_os = "linux")]
mod host_reservations;
mod registry_link;
mod rhythm;

pub use agent::Agent;
pub use builder::AgentBuilder;
pub use error::AgentError;
pub use host::advertised_host;
#[cfg(target_os = "linux")]
pub use host_reservations::HostReservations;

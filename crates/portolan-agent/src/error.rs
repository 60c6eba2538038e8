//! Why a service cannot be kept findable.

use portolan_broadcast::AnnounceError;
use portolan_client::RegistryClientError;
use portolan_core::{InvalidRegistration, ServiceId};

/// Why a service cannot be kept findable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// What it says of itself cannot be kept. Retrying does not help: it must change.
    #[error(transparent)]
    Invalid(#[from] InvalidRegistration),
    /// The registry refused it, or was not to be reached and there is no broadcast channel
    /// either. [`RegistryClientError::is_temporary`] tells whether retrying helps.
    #[error(transparent)]
    Registry(#[from] RegistryClientError),
    /// The broadcast channel did not take it, and no registry has it either.
    #[error(transparent)]
    Announce(#[from] AnnounceError),
    /// There is nobody to tell. Retrying does not help.
    #[error(
        "nobody can find {service_id}: there is neither a registry nor a broadcast channel; set discovery.registry_url, or broadcast.enabled to true"
    )]
    NobodyToTell {
        /// The instance.
        service_id: ServiceId,
    },
    /// An update that is about somebody else. Retrying does not help: start another agent for it.
    #[error(
        "the agent of {own} cannot become that of {other}; name, scope, host and port stay as they are, so start another agent"
    )]
    OtherInstance {
        /// The instance that the agent keeps.
        own: ServiceId,
        /// The instance that the update is about.
        other: ServiceId,
    },
}

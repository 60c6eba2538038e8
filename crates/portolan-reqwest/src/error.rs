//! Why a request did not reach a service.

use std::time::Duration;

use portolan_client::DiscoverError;
use portolan_core::ServiceName;

/// Why a request was not answered by any instance. It is the source of [`reqwest_middleware::Error::Middleware`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceRequestError {
    /// The service has no instance, or could not be looked up.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// No instance answered in time, the last one tried included. Retrying may help; the request may have taken effect.
    #[error("no answer of {name} at {address} within {limit:?}")]
    NoAnswer {
        /// The service.
        name: ServiceName,
        /// The host and port of the last instance.
        address: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// TLS to a service by name. Retrying does not help.
    #[error(
        "https://{0}: an instance has no certificate for the name of the service; use http://{0}, or the host name in its certificate"
    )]
    Tls(ServiceName),
    /// The address of an instance cannot be written in a URL. Retrying does not help.
    #[error("the address {0} of an instance cannot be written in a URL")]
    Address(String),
}

impl From<ServiceRequestError> for reqwest_middleware::Error {
    fn from(error: ServiceRequestError) -> Self {
        Self::middleware(error)
    }
}

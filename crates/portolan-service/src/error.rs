//! Why a service could not be bound, published or served.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

use portolan_agent::AgentError;
use portolan_client::RegistryClientError;
use portolan_client::environment::InvalidVariable;
use portolan_core::Remedy;
use portolan_core::name::InvalidName;
#[cfg(target_os = "linux")]
use portolan_port_allocator::AllocatorError;

/// Why a service could not be bound, published or served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The name is not valid. Retrying does not help.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// An environment variable is not valid. Retrying does not help.
    #[error(transparent)]
    Variable(#[from] InvalidVariable),
    /// No port could be leased.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Allocator(#[from] AllocatorError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The socket that a wrapper left to this process cannot be used.
    #[error("the inherited socket cannot be used: {0}")]
    Inherited(#[source] io::Error),
    /// The settings of the registry are not valid. Retrying does not help.
    #[error(transparent)]
    Registry(#[from] RegistryClientError),
    /// The service could not be registered.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The server failed.
    #[error("the server failed: {0}")]
    Server(#[source] Box<dyn std::error::Error + Send + Sync>),
}

// === impl ServiceError ===

impl ServiceError {
    /// Returns the error of a server that failed.
    pub fn server(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Server(error.into())
    }
}

impl Remedy for ServiceError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Variable(error) => error.remedy(),
            #[cfg(target_os = "linux")]
            Self::Allocator(error) => error.remedy(),
            Self::Registry(error) => error.remedy(),
            Self::Agent(error) => error.remedy(),
            Self::Listen { .. } => {
                Some("stop the program that listens there, or unset PORT".into())
            }
            Self::Inherited(_) => Some("start the program with --handoff socket".into()),
            Self::Name(_) | Self::Server(_) => None,
        }
    }
}

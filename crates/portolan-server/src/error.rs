//! The error of a registry server.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

use portolan_core::Remedy;
use portolan_http::ServeError;
use portolan_port_allocator::AllocatorError;
use portolan_registry::InvalidRegistryConfig;
use portolan_registry::store::OpenError;
use tokio::task::JoinError;

use crate::access::InvalidAccess;
use crate::secrets::MIN_TOKEN;
use crate::transport::InvalidTls;

/// Why a registry server did not start, or failed while it ran.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The settings disable the registry.
    #[error("the registry is disabled: service_registry.enabled is false")]
    Disabled,
    /// A setting is invalid.
    #[error(transparent)]
    Config(InvalidRegistryConfig),
    /// The registry's store cannot be opened.
    #[error(transparent)]
    Store(OpenError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] InvalidTls),
    /// The policies cannot be used.
    #[error(transparent)]
    Access(#[from] InvalidAccess),
    /// The address has no port.
    #[error("service_registry.listen_address: invalid port 0, expected 1 to 65535")]
    PortZero,
    /// The port is in use or not permitted.
    #[error("cannot lease the registry's port: {0}")]
    Port(#[from] AllocatorError),
    /// The socket cannot listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The token can be guessed, and other hosts can try.
    #[error(
        "the token has {length} bytes, and other hosts can reach {address}: expected at least {MIN_TOKEN} bytes"
    )]
    WeakToken {
        /// Its length in bytes.
        length: usize,
        /// The address of the registry.
        address: SocketAddr,
    },
    /// The HTTP server failed while it ran.
    #[error(transparent)]
    Http(#[from] ServeError),
    /// A task of the server panicked.
    #[error("the server's {part} task panicked")]
    Panicked {
        /// The task.
        part: &'static str,
        /// The panic.
        source: JoinError,
    },
}

// === impl ServerError ===

impl From<OpenError> for ServerError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Config(error) => Self::Config(error),
            other => Self::Store(other),
        }
    }
}

impl Remedy for ServerError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Disabled => Some("set service_registry.enabled to true".into()),
            Self::Config(error) => error.remedy(),
            Self::Tls(error) => error.remedy(),
            Self::Access(error) => error.remedy(),
            Self::Store(error) => error.remedy(),
            Self::PortZero => Some("choose a port, such as 7000".into()),
            Self::Listen { .. } => {
                Some("set service_registry.listen_address to an address of this machine".into())
            }
            Self::Panicked { .. } => Some("restart the server and report the panic".into()),
            Self::Port(error) => error.remedy(),
            Self::WeakToken { .. } => Some(
                "use a random token, such as the output of `openssl rand -hex 32`, or listen on 127.0.0.1".into(),
            ),
            Self::Http(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn error_texts_and_remedies() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 7000));
        let panic = tokio::spawn(async { panic!("on purpose") }).await.unwrap_err();
        let errors = [
            ServerError::Disabled,
            OpenError::Config(InvalidRegistryConfig::Backend("etcd")).into(),
            ServerError::PortZero,
            ServerError::WeakToken { length: 6, address },
            ServerError::Listen { address, source },
            ServerError::Panicked { part: "health", source: panic },
        ];
        insta::assert_snapshot!(errors.map(|error| error.with_remedy()).join("\n"));
    }
}

//! The errors of commands.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use portolan_core::{Host, InvalidRegistration, Remedy, ServiceId};

/// Why a command was rejected or is not known to have been committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No instance has the id: it never registered, deregistered or expired. Do not retry.
    #[error("no instance has the id {id}")]
    Unknown {
        /// The requested id.
        id: ServiceId,
    },
    /// The registration is invalid. Do not retry.
    #[error(transparent)]
    Invalid(#[from] InvalidRegistration),
    /// The registry has its maximum number of endpoints. Retry later.
    #[error("the registry is full: it has {limit} endpoints, its limit")]
    Full {
        /// The limit, `max_endpoints`.
        limit: usize,
    },
    /// The registry has its maximum number of endpoints that were learned by broadcast.
    #[error("the registry has {limit} endpoints learned by broadcast, its limit")]
    BroadcastFull {
        /// The limit, half of `max_endpoints`.
        limit: usize,
    },
    /// A broadcast announcement concerns an instance that registered through the API, which takes
    /// precedence. Do not retry.
    #[error("{id} is registered through the API, announcements by broadcast do not change it")]
    RegisteredByApi {
        /// The instance.
        id: ServiceId,
    },
    /// A registration at a loopback address came from another machine. Do not retry.
    #[error("host: {host} is a loopback address, but the registration comes from {peer}")]
    RemoteLoopback {
        /// The host of the registration.
        host: Host,
        /// The peer that sent the registration.
        peer: IpAddr,
    },
    /// The command was not committed before its deadline; whether it will be is unknown. Retry:
    /// every command is idempotent.
    #[error("the registry did not answer within {0:?}")]
    Busy(Duration),
    /// The store is unreachable, or the view lags behind it; whether the command was committed is
    /// unknown. Retry: every command is idempotent.
    #[error("the store {store} is unavailable: {reason}")]
    Unavailable {
        /// The store, by its name in `service_registry.storage_backend`.
        store: &'static str,
        /// Why.
        reason: String,
    },
    /// The registry is shutting down. Retry with another server, or after a restart.
    #[error("the registry is shutting down")]
    Closed,
}

// === impl RegistryError ===

impl Remedy for RegistryError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::Invalid(_) | Self::RegisteredByApi { .. } => return None,
            Self::Unknown { .. } => "register the instance again",
            Self::Full { .. } => "deregister instances, or raise service_registry.max_endpoints",
            Self::BroadcastFull { .. } => {
                "register services through the API, or raise service_registry.max_endpoints, half \
                 of which is for broadcast"
            }
            Self::RemoteLoopback { .. } => {
                "register the address at which other machines reach the service"
            }
            Self::Busy(_) | Self::Unavailable { .. } => "retry the request",
            Self::Closed => "retry the request with another server, or after a restart",
        };
        Some(remedy.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_texts_and_remedies() {
        let id: ServiceId = "api@10.0.0.7:8080".parse().unwrap();
        let errors = [
            RegistryError::Unknown { id: id.clone() },
            RegistryError::Full { limit: 100_000 },
            RegistryError::BroadcastFull { limit: 50_000 },
            RegistryError::RegisteredByApi { id },
            RegistryError::RemoteLoopback {
                host: Host::loopback(),
                peer: "10.0.0.9".parse().unwrap(),
            },
            RegistryError::Busy(Duration::from_secs(5)),
            RegistryError::Unavailable { store: "etcd", reason: "connection refused".into() },
            RegistryError::Closed,
        ];
        insta::assert_snapshot!(errors.map(|error| error.with_remedy()).join("\n"));
    }
}

//! The errors of commands.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use portolan_access::Denied;
use portolan_core::{Host, Incarnation, InvalidRegistration, Remedy, ServiceId};

use crate::AgentSessionId;

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
    /// The sender lacks a right. Do not retry.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The registry has its maximum number of endpoints. Retry later.
    #[error("the registry is full: it has {limit} endpoints, its limit")]
    Full {
        /// The limit, `max_endpoints`.
        limit: usize,
    },
    /// A host has its maximum number of endpoints. Retry once it has deregistered some.
    #[error("the host {peer} has {limit} endpoints, its limit")]
    ClientFull {
        /// The host.
        peer: IpAddr,
        /// The limit, `clients.endpoints`.
        limit: usize,
    },
    /// An identity has its maximum number of endpoints. Retry once it has deregistered some.
    #[error("{identity} has {limit} endpoints, its limit")]
    IdentityFull {
        /// The identity.
        identity: String,
        /// The limit, `limits.endpoints` of the identity.
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
    /// The command concerns an instance that is registered in Consul by a client of Consul, which alone may change
    /// it. Do not retry.
    #[error("{id} is registered in Consul: service {service} of node {node}")]
    RegisteredInConsul {
        /// The instance.
        id: ServiceId,
        /// The id of the service in Consul.
        service: String,
        /// Its node.
        node: String,
    },
    /// A registration at a loopback address came from another machine. Do not retry.
    #[error("{member}: {host} is a loopback address, but the registration comes from {}", peer_text(*peer))]
    RemoteLoopback {
        /// The member of the registration: `host` or `addresses`.
        member: &'static str,
        /// The host in it.
        host: Host,
        /// The host that sent the registration, if it is known.
        peer: Option<IpAddr>,
    },
    /// The command comes from another run of the registrant than the one that owns the registration, such
    /// as one that was replaced while it was paused. Do not retry: the command must not take effect.
    #[error(
        "{id} is registered by {}, the request comes from incarnation {incarnation}",
        incarnation_text(*owner)
    )]
    AnotherIncarnation {
        /// The instance.
        id: ServiceId,
        /// The incarnation of the command.
        incarnation: Incarnation,
        /// The incarnation of the registration, if it has one.
        owner: Option<Incarnation>,
    },
    /// The command comes from a registrant whose instance was deregistered because a newer one registered
    /// at its address. Do not retry: the command must not take effect.
    #[error(
        "{id} of incarnation {incarnation} was deregistered when {successor} registered at its address, \
         {address}, by {}",
        incarnation_text(*owner)
    )]
    Displaced {
        /// The instance.
        id: ServiceId,
        /// The incarnation of the command.
        incarnation: Incarnation,
        /// The instance that is at the address now.
        successor: ServiceId,
        /// The address of that instance.
        address: String,
        /// The incarnation of that instance, if it has one.
        owner: Option<Incarnation>,
    },
    /// The agent of an instance holds another session by now, so that the end of this one says nothing. Do not retry.
    #[error("the agent of {id} holds another session than {session}")]
    AnotherSession {
        /// The instance.
        id: ServiceId,
        /// The session that ended.
        session: AgentSessionId,
    },
    /// An instance cannot be restored, because its id or its address is in use. Do not retry.
    #[error("{id} cannot be imported: the store has {other} already, with the same id or address")]
    Exists {
        /// The instance.
        id: ServiceId,
        /// The instance that the store has.
        other: ServiceId,
    },
    /// The id is registered from another host, and that registration is alive. Retry after it expired.
    #[error(
        "{id} is registered from {} at {owner_address}, this registration comes from {} at {address}",
        peer_text(*owner),
        peer_text(*peer)
    )]
    OwnedByAnother {
        /// The instance.
        id: ServiceId,
        /// The host that registered it, if it is known.
        owner: Option<IpAddr>,
        /// The address that is registered.
        owner_address: String,
        /// The host that sent this registration, if it is known.
        peer: Option<IpAddr>,
        /// The address in this registration.
        address: String,
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
    /// The store cannot be written at the moment; the command was not committed. Retry later. Reads, heartbeats
    /// and health reports still work.
    #[error("the registry is read-only: {reason}")]
    ReadOnly {
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
            Self::Denied(denied) => return denied.remedy(),
            Self::Unknown { .. } => "register the instance again",
            Self::ClientFull { .. } => {
                "deregister instances, or raise service_registry.clients.endpoints"
            }
            Self::IdentityFull { .. } => {
                "deregister instances, or raise limits.endpoints of the identity in the policies"
            }
            Self::Full { .. } => "deregister instances, or raise service_registry.max_endpoints",
            Self::BroadcastFull { .. } => {
                "register services through the API, or raise service_registry.max_endpoints, half \
                 of which is for broadcast"
            }
            Self::RegisteredInConsul { .. } => {
                "choose another id, or change it where it was registered, with `consul services deregister` or the \
                 file of the agent"
            }
            Self::RemoteLoopback { peer: Some(_), .. } => {
                "register the address at which other machines reach the service"
            }
            Self::RemoteLoopback { peer: None, .. } => {
                "register the address at which other machines reach the service, or list the proxy in \
                 service_registry.trusted_proxies and let it set X-Forwarded-For"
            }
            Self::AnotherIncarnation { .. } => {
                "end this run of the service, or register with a new incarnation to replace the other"
            }
            Self::AnotherSession { .. } => return None,
            Self::Displaced { .. } => "end this service, or register it at an address of its own",
            Self::OwnedByAnother { .. } => {
                "choose another id, end the other service, or register with \"replace\": true (--replace)"
            }
            Self::Exists { .. } => "deregister the one in the store, if the other one is meant",
            Self::ReadOnly { .. } => {
                "free space on the disk of service_registry.data_dir, make it writable or put it back, then retry the request"
            }
            Self::Busy(_) | Self::Unavailable { .. } => "retry the request",
            Self::Closed => "retry the request with another server, or after a restart",
        };
        Some(remedy.into())
    }
}

fn peer_text(peer: Option<IpAddr>) -> Cow<'static, str> {
    peer.map_or("a host behind a proxy".into(), |peer| peer.to_string().into())
}

fn incarnation_text(incarnation: Option<Incarnation>) -> Cow<'static, str> {
    match incarnation {
        Some(incarnation) => format!("incarnation {incarnation}").into(),
        None => "a program without an incarnation".into(),
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
            RegistryError::ClientFull { peer: [10, 0, 0, 9].into(), limit: 5_000 },
            RegistryError::IdentityFull { identity: "payments".to_owned(), limit: 50 },
            RegistryError::BroadcastFull { limit: 50_000 },
            RegistryError::RegisteredByApi { id: id.clone() },
            RegistryError::RegisteredInConsul {
                id: "consul:db-1:postgres".parse().unwrap(),
                service: "postgres".into(),
                node: "db-1".into(),
            },
            RegistryError::RemoteLoopback {
                member: "host",
                host: Host::loopback(),
                peer: "10.0.0.9".parse().ok(),
            },
            RegistryError::RemoteLoopback {
                member: "addresses",
                host: Host::loopback(),
                peer: None,
            },
            RegistryError::AnotherIncarnation {
                id: id.clone(),
                incarnation: Incarnation::new(1),
                owner: Some(Incarnation::new(2)),
            },
            RegistryError::AnotherIncarnation {
                id: id.clone(),
                incarnation: Incarnation::new(1),
                owner: None,
            },
            RegistryError::Displaced {
                id: id.clone(),
                incarnation: Incarnation::new(1),
                successor: "web@10.0.0.7:8080".parse().unwrap(),
                address: "10.0.0.7:8080".into(),
                owner: Some(Incarnation::new(2)),
            },
            RegistryError::OwnedByAnother {
                id,
                owner: "10.0.0.7".parse().ok(),
                owner_address: "10.0.0.7:8080".into(),
                peer: "10.0.0.9".parse().ok(),
                address: "10.0.0.9:8080".into(),
            },
            RegistryError::Exists {
                id: "api@10.0.0.7:8080".parse().unwrap(),
                other: "web@10.0.0.7:8080".parse().unwrap(),
            },
            RegistryError::Busy(Duration::from_secs(5)),
            RegistryError::Unavailable { store: "etcd", reason: "connection refused".into() },
            RegistryError::ReadOnly {
                reason: "cannot write /data/journal-00000001: No space left on device".into(),
            },
            RegistryError::Closed,
        ];
        insta::assert_snapshot!(errors.map(|error| error.with_remedy()).join("\n"));
    }
}

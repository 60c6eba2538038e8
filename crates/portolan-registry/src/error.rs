//! Why the registry does not do what it is asked.

use std::net::IpAddr;
use std::time::Duration;

use portolan_core::{Host, InvalidRegistration, ServiceId};

/// Why a command was not carried out; nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// There is no such instance: it never registered, went, or its lease ended. Do not repeat
    /// the request; register the instance again.
    #[error("no instance has the id {id}; register it, again if it was registered before")]
    Unknown {
        /// The id asked for.
        id: ServiceId,
    },
    /// The registration breaks a bound. It must change.
    #[error(transparent)]
    Invalid(#[from] InvalidRegistration),
    /// There is no room. Repeat it once others are gone, or give the registry more room.
    #[error(
        "the registry is full: it has its {limit} endpoints; deregister some, or raise service_registry.max_endpoints"
    )]
    Full {
        /// How many endpoints there may be.
        limit: usize,
    },
    /// There is no room for what is heard by broadcast.
    #[error(
        "the registry has its {limit} endpoints from broadcast; let services register by the API, or raise service_registry.max_endpoints, half of which is for broadcast"
    )]
    BroadcastFull {
        /// How many endpoints from broadcast there may be.
        limit: usize,
    },
    /// Broadcast wanted to change what came by the API. There is nothing to do: the API's word
    /// counts.
    #[error("{id} registered by the API; what broadcast says of it is not taken")]
    RegisteredByApi {
        /// The instance.
        id: ServiceId,
    },
    /// A loopback address from another machine. The registration must change.
    #[error(
        "host: {host} is only reachable on its own machine, and the registration comes from {peer}; register with the address at which others reach the service"
    )]
    RemoteLoopback {
        /// The host to be registered.
        host: Host,
        /// Who sent the registration.
        peer: IpAddr,
    },
    /// The writer did not get to it in time; whether it will is not known. Repeat it: every
    /// command may be repeated.
    #[error("the registry did not answer within {0:?}; repeat the request")]
    Busy(Duration),
    /// The store cannot be reached, or the view lags behind it; whether the command was carried out
    /// is not known. Repeat it: every command may be repeated.
    #[error("the store {store} is unavailable: {reason}")]
    Unavailable {
        /// The store, as `service_registry.storage_backend` names it.
        store: &'static str,
        /// Why.
        reason: String,
    },
    /// The writer is gone: the registry is shutting down. Repeat it with another registry, or later.
    #[error("the registry is shutting down; repeat the request when it runs again")]
    Closed,
}

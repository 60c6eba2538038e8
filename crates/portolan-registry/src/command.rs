//! Commands, where they come from, and their outcomes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portolan_core::{HealthReport, Registration, Revision, ServiceEndpoint, ServiceId};

use crate::RegistryError;

/// A requested change. Every command is idempotent.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Registers an instance, or renews its lease if the registration is the one that is known.
    Register(Registration),
    /// Deregisters an instance.
    Deregister(ServiceId),
    /// Renews the lease of an instance.
    Heartbeat(ServiceId),
    /// Reports the health of an instance. Does not renew its lease.
    Health(ServiceId, HealthReport),
}

/// Where a command comes from: its source and the peer that sent it.
///
/// A registration at a loopback address is rejected unless its peer is on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandOrigin {
    source: Source,
    peer: IpAddr,
}

/// The channel by which a command arrived. What is learned by broadcast never replaces or removes
/// what registered through the API, and an API registration takes an instance over from broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The service itself, or a program that acts for it.
    Api,
    /// An announcement on a broadcast channel.
    Broadcast,
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandOutcome {
    /// The instance is registered.
    Registered(Registered),
    /// The instance is deregistered.
    Deregistered {
        /// The instance as it was.
        endpoint: Arc<ServiceEndpoint>,
        /// The revision of the change.
        revision: Revision,
    },
    /// The lease of the instance is renewed.
    Renewed,
    /// The health of the instance is updated.
    HealthUpdated(Arc<ServiceEndpoint>),
}

/// The outcome of a registration.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// The instance as it is stored.
    pub endpoint: Arc<ServiceEndpoint>,
    /// Whether the instance is new.
    pub created: bool,
    /// Whether the registration changed anything; if not, it renewed the lease like a heartbeat.
    pub changed: bool,
    /// The instance of another service or scope that had the same id and was replaced.
    pub moved_from: Option<Arc<ServiceEndpoint>>,
}

// === impl Command ===

impl Command {
    /// The id of the instance.
    pub fn id(&self) -> ServiceId {
        match self {
            Self::Register(registration) => registration.id(),
            Self::Deregister(id) | Self::Heartbeat(id) | Self::Health(id, _) => id.clone(),
        }
    }

    /// Whether the command gives the instance its full TTL again.
    pub(crate) fn renews_lease(&self) -> bool {
        !matches!(self, Self::Health(..))
    }

    /// Rejects a registration at a loopback address that comes from another machine: there it
    /// means that machine, here it would mean this one (ADR 0007).
    pub(crate) fn check_origin(&self, origin: CommandOrigin) -> Result<(), RegistryError> {
        let remote = !origin.peer.to_canonical().is_loopback();
        match self {
            Self::Register(Registration { host, .. }) if remote && host.is_loopback() => {
                Err(RegistryError::RemoteLoopback { host: host.clone(), peer: origin.peer })
            }
            _ => Ok(()),
        }
    }
}

// === impl CommandOrigin ===

impl CommandOrigin {
    /// An API request from this peer.
    pub fn api(peer: IpAddr) -> Self {
        Self { source: Source::Api, peer }
    }

    /// This process itself.
    pub fn local() -> Self {
        Self::api(Ipv4Addr::LOCALHOST.into())
    }

    /// A broadcast announcement. The broadcast channel has already checked that an announced
    /// loopback address comes from this machine, which it recognises by every one of its addresses.
    pub fn broadcast() -> Self {
        Self { source: Source::Broadcast, ..Self::local() }
    }

    /// The channel by which the command arrived.
    pub fn source(self) -> Source {
        self.source
    }
}

// === impl Source ===

impl Source {
    /// The source as logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Broadcast => "broadcast",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_registration_is_accepted_from_this_machine_only() {
        let local = ["127.0.0.1", "::1", "::ffff:127.0.0.1"];
        let origin = |peer: &str| CommandOrigin::api(peer.parse().unwrap());
        for host in ["localhost", "127.0.0.1", "::1", "10.0.0.7", "db.example.org"] {
            let registration =
                Registration::new("api".parse().unwrap(), host.parse().unwrap(), 8080);
            let command = Command::Register(registration);
            for peer in local {
                command.check_origin(origin(peer)).unwrap();
            }
            let loopback = !matches!(host, "10.0.0.7" | "db.example.org");
            let remote = command.check_origin(origin("10.0.0.9"));
            assert_eq!(remote.is_err(), loopback, "{host}");
        }
        let heartbeat = Command::Heartbeat("api".parse().unwrap());
        heartbeat.check_origin(origin("10.0.0.9")).unwrap();
    }
}

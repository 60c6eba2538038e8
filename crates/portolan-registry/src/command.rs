//! What can be asked of the registry, and what comes of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portolan_core::{HealthReport, Registration, Revision, ServiceEndpoint, ServiceId};

use crate::RegistryError;

/// A change that somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// "Here is an instance." Said again in the same words it is a heartbeat.
    Register(Registration),
    /// "It is going."
    Deregister(ServiceId),
    /// "It is still there."
    Heartbeat(ServiceId),
    /// "This is how well it is." No sign of life: a check may fail for as long as it likes.
    Health(ServiceId, HealthReport),
}

/// Where a command comes from: its source and the peer that sent it.
///
/// A registration at a loopback address is rejected unless its peer is on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
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

/// What came of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandOutcome {
    /// The instance is there.
    Registered(Registered),
    /// The instance is gone.
    Deregistered {
        /// What it was.
        endpoint: Arc<ServiceEndpoint>,
        /// The revision that its going made.
        revision: Revision,
    },
    /// The instance has its full TTL again.
    Renewed,
    /// The instance's health is set.
    HealthUpdated(Arc<ServiceEndpoint>),
}

/// What came of a registration.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// The instance as it is kept.
    pub endpoint: Arc<ServiceEndpoint>,
    /// Whether there was no such instance before.
    pub created: bool,
    /// Whether it says anything that was not known; else it was a heartbeat.
    pub changed: bool,
}

// === impl Command ===

impl Command {
    /// The instance that it is about.
    pub fn id(&self) -> ServiceId {
        match self {
            Self::Register(registration) => registration.id(),
            Self::Deregister(id) | Self::Heartbeat(id) | Self::Health(id, _) => id.clone(),
        }
    }

    /// Rejects a registration at a loopback address that comes from another machine: there it
    /// means that machine, here it would mean this one (docs/adr/0007-loopback-addresses.md).
    pub(crate) fn check_origin(&self, origin: Origin) -> Result<(), RegistryError> {
        let remote = !origin.peer.to_canonical().is_loopback();
        match self {
            Self::Register(Registration { host, .. }) if remote && host.is_loopback() => {
                Err(RegistryError::RemoteLoopback { host: host.clone(), peer: origin.peer })
            }
            _ => Ok(()),
        }
    }
}

// === impl CommandOutcome ===

impl CommandOutcome {
    /// The revision up to which a view must have come to show this; none where it shows at once.
    pub(crate) fn revision(&self) -> Option<Revision> {
        match self {
            Self::Registered(Registered { endpoint, .. }) | Self::HealthUpdated(endpoint) => {
                Some(endpoint.revision)
            }
            Self::Deregistered { revision, .. } => Some(*revision),
            Self::Renewed => None,
        }
    }
}

// === impl Origin ===

impl Origin {
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
        let origin = |peer: &str| Origin::api(peer.parse().unwrap());
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

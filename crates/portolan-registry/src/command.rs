//! What can be asked of the registry, and what comes of it.

use std::net::IpAddr;
use std::sync::Arc;

use portolan_core::{HealthReport, Host, Registration, Revision, ServiceEndpoint, ServiceId};

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

/// Who asks. What is heard by broadcast is hearsay: it never overwrites or removes what came by
/// the API, and an API registration takes an instance over from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The service itself, or somebody who acts for it.
    Api,
    /// An announcement on a broadcast channel.
    Broadcast,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
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
    Alive,
    /// The instance's health is set.
    HealthSet(Arc<ServiceEndpoint>),
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

    /// Refuses a registration at a loopback address that comes from another machine: there it
    /// means that machine, here it would mean this one (decision 2.5).
    pub fn check_origin(&self, peer: IpAddr) -> Result<(), RegistryError> {
        match self {
            Self::Register(registration) => check_host(&registration.host, peer),
            _ => Ok(()),
        }
    }
}

fn check_host(host: &Host, peer: IpAddr) -> Result<(), RegistryError> {
    let remote = !peer.to_canonical().is_loopback();
    match remote && host.is_loopback() {
        true => Err(RegistryError::LoopbackFromAfar { host: host.clone(), peer }),
        false => Ok(()),
    }
}

// === impl Outcome ===

impl Outcome {
    /// The revision up to which a view must have come to show this; none where it shows at once.
    pub(crate) fn revision(&self) -> Option<Revision> {
        match self {
            Self::Registered(Registered { endpoint, .. }) | Self::HealthSet(endpoint) => {
                Some(endpoint.revision)
            }
            Self::Deregistered { revision, .. } => Some(*revision),
            Self::Alive => None,
        }
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
    fn a_loopback_host_is_taken_from_this_machine_only() {
        let here = ["127.0.0.1", "::1", "::ffff:127.0.0.1"];
        for host in ["localhost", "127.0.0.1", "::1", "10.0.0.7", "db.example.org"] {
            let registration =
                Registration::new("api".parse().unwrap(), host.parse().unwrap(), 8080);
            let command = Command::Register(registration);
            for peer in here {
                command.check_origin(peer.parse().unwrap()).unwrap();
            }
            let loopback = !matches!(host, "10.0.0.7" | "db.example.org");
            let from_afar = command.check_origin("10.0.0.9".parse().unwrap());
            assert_eq!(from_afar.is_err(), loopback, "{host}");
        }
        let heartbeat = Command::Heartbeat("api".parse().unwrap());
        heartbeat.check_origin("10.0.0.9".parse().unwrap()).unwrap();
    }
}

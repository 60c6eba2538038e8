//! Commands, where they come from, and their outcomes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portolan_access::Grants;
use portolan_core::{
    HealthReport, Incarnation, Registration, Revision, ServiceEndpoint, ServiceId, Source,
};

use crate::store::StoreRecord;
use crate::store::owner::Place;
use crate::{AgentSessionId, RegistryError};

/// A requested change. Every command is idempotent.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Registers an instance, or renews its lease if the registration is the one that is known.
    Register(Registration),
    /// Deregisters an instance.
    Deregister(CommandTarget),
    /// Renews the lease of an instance.
    Heartbeat(CommandTarget),
    /// Reports the health of an instance. Does not renew its lease.
    Health(CommandTarget, HealthReport),
    /// Notes the session that the agent of an instance holds from now on. Does not renew its lease.
    Attach(CommandTarget, AgentSessionId),
    /// Deregisters an instance whose process has ended: its session has, and its address refuses connections. Rejected if its
    /// agent holds another session by now.
    Vanish(CommandTarget, AgentSessionId),
    /// Stores an instance of another store, with its full TTL, its age and its owner. Rejected if the id or the
    /// address is in use.
    Restore(Box<StoreRecord>),
}

/// The instance that a command concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandTarget {
    /// The id of the instance.
    pub id: ServiceId,
    /// Which run of the registrant sends the command. The command is rejected if the registration
    /// has another one; `None` is not checked.
    pub incarnation: Option<Incarnation>,
}

/// Where a command comes from: its source, the host that sent it, and what its sender may do.
///
/// What is learned by broadcast never replaces or removes what registered through the API, and an API
/// registration takes an instance over from broadcast. A registration at a loopback address is
/// rejected unless it comes from this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOrigin {
    source: Source,
    peer: Option<IpAddr>,
    /// `None`: everything.
    grants: Option<Arc<Grants>>,
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
    /// The instances that were deregistered because this one is now at their address, and the
    /// revisions of that.
    pub displaced: Vec<(Arc<ServiceEndpoint>, Revision)>,
}

// === impl Command ===

impl Command {
    /// The id of the instance.
    pub fn id(&self) -> ServiceId {
        match self {
            Self::Register(registration) => registration.id(),
            Self::Restore(record) => record.endpoint().id.clone(),
            Self::Deregister(target)
            | Self::Heartbeat(target)
            | Self::Health(target, _)
            | Self::Attach(target, _)
            | Self::Vanish(target, _) => target.id.clone(),
        }
    }

    /// The run of the registrant that sends the command, if it says so.
    pub fn incarnation(&self) -> Option<Incarnation> {
        match self {
            Self::Register(registration) => registration.incarnation,
            Self::Restore(record) => record.endpoint().incarnation,
            Self::Deregister(target)
            | Self::Heartbeat(target)
            | Self::Health(target, _)
            | Self::Attach(target, _)
            | Self::Vanish(target, _) => target.incarnation,
        }
    }

    /// The places that the command asks for.
    pub(crate) fn places(&self) -> Vec<Place> {
        match self {
            Self::Register(registration) => Place::requested(registration).collect(),
            Self::Restore(record) => Place::all(record.endpoint()).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the command gives the instance its full TTL again.
    pub(crate) fn renews_lease(&self) -> bool {
        !matches!(self, Self::Health(..) | Self::Attach(..))
    }

    /// Whether the command removes the instance.
    #[cfg(any(feature = "etcd", feature = "consul"))]
    pub(crate) fn removes(&self) -> bool {
        matches!(self, Self::Deregister(_) | Self::Vanish(..))
    }

    /// Rejects a registration at a loopback address that comes from another host: there it means that
    /// host, here it would mean this one (ADR 0007).
    pub(crate) fn check_origin(&self, origin: &CommandOrigin) -> Result<(), RegistryError> {
        let Self::Register(registration) = self else { return Ok(()) };
        if origin.is_local() {
            return Ok(());
        }
        let hosts = std::iter::once(("host", &registration.host))
            .chain(registration.addresses.iter().map(|host| ("addresses", host)));
        match hosts.into_iter().find(|(_, host)| host.is_loopback()) {
            Some((member, host)) => {
                let (host, peer) = (host.clone(), origin.peer);
                Err(RegistryError::RemoteLoopback { member, host, peer })
            }
            None => Ok(()),
        }
    }
}

// === impl CommandTarget ===

impl From<ServiceId> for CommandTarget {
    fn from(id: ServiceId) -> Self {
        Self { id, incarnation: None }
    }
}

impl From<&ServiceId> for CommandTarget {
    fn from(id: &ServiceId) -> Self {
        id.clone().into()
    }
}

// === impl CommandOrigin ===

impl CommandOrigin {
    /// A request through this source from this host.
    pub(crate) fn of(source: Source, peer: Option<IpAddr>) -> Self {
        Self { source, peer, grants: None }
    }

    /// An API request from this host; `None` if a proxy hides it.
    pub fn api(peer: impl Into<Option<IpAddr>>) -> Self {
        Self::of(Source::Registered, peer.into())
    }

    /// Limits the command to what its sender may do. `None` does not limit it.
    pub fn limited_to(self, grants: Option<Arc<Grants>>) -> Self {
        Self { grants, ..self }
    }

    /// This process itself.
    pub fn local() -> Self {
        Self::api(IpAddr::from(Ipv4Addr::LOCALHOST))
    }

    /// A broadcast announcement from this host. The broadcast channel has already checked that an
    /// announced loopback address comes from this host, which it recognises by every one of its
    /// addresses.
    pub fn broadcast(peer: IpAddr) -> Self {
        Self::of(Source::Broadcast, Some(peer))
    }

    /// How the command arrived.
    pub fn source(&self) -> Source {
        self.source
    }

    /// What the sender may do; `None` if that is not limited.
    pub(crate) fn grants(&self) -> Option<&Grants> {
        self.grants.as_deref()
    }

    /// The host that sent the command, if it is known.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.to_canonical())
    }

    /// Whether an address of loopback can be meant: the command comes from this host, or the channel has
    /// checked that.
    fn is_local(&self) -> bool {
        self.source == Source::Broadcast || self.peer().is_some_and(|peer| peer.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, addresses: &[&str]) -> Command {
        let mut registration =
            Registration::new("api".parse().unwrap(), host.parse().unwrap(), 8080);
        registration.addresses = addresses.iter().map(|host| host.parse().unwrap()).collect();
        Command::Register(registration)
    }

    fn origin(peer: &str) -> CommandOrigin {
        CommandOrigin::api(peer.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn loopback_registration_is_accepted_from_this_machine_only() {
        let local = ["127.0.0.1", "::1", "::ffff:127.0.0.1"];
        for host in ["localhost", "127.0.0.1", "::1", "10.0.0.7", "db.example.org"] {
            let command = at(host, &[]);
            for peer in local {
                command.check_origin(&origin(peer)).unwrap();
            }
            let loopback = !matches!(host, "10.0.0.7" | "db.example.org");
            for remote in [origin("10.0.0.9"), CommandOrigin::api(None)] {
                assert_eq!(command.check_origin(&remote).is_err(), loopback, "{host}");
            }
        }
        let heartbeat = Command::Heartbeat("api".parse::<ServiceId>().unwrap().into());
        heartbeat.check_origin(&origin("10.0.0.9")).unwrap();
    }

    #[test]
    fn loopback_among_the_addresses_of_a_remote_registration_is_rejected() {
        let command = at("10.0.0.7", &["192.168.0.7", "::1"]);
        let error = command.check_origin(&origin("10.0.0.7")).unwrap_err();
        let RegistryError::RemoteLoopback { member, host, .. } = error else { panic!("{error}") };
        assert_eq!((member, host), ("addresses", "::1".parse().unwrap()));
        command.check_origin(&origin("127.0.0.1")).unwrap();
        at("10.0.0.7", &["192.168.0.7"]).check_origin(&origin("10.0.0.7")).unwrap();
    }
}

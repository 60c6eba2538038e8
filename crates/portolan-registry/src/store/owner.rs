//! The owner of a registration, and the address that a registration occupies.

use std::net::IpAddr;

use portolan_core::{Host, Incarnation, Protocol, Registration, ServiceEndpoint, ServiceId};
use serde::{Deserialize, Serialize};

use crate::{AgentSessionId, CommandOrigin};

/// How many fenced incarnations are kept with a registration; the oldest are forgotten.
const FENCED: usize = 16;

/// Who owns a registration. A store keeps it with the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The host that registered the instance; `None` if a proxy hides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<IpAddr>,
    /// The identity that registered the instance, if the registry has policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// The incarnations that this owner has replaced, and the ids that they were registered under.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) fenced: Vec<(ServiceId, Incarnation)>,
    /// The newest session of the agent, if it holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<AgentSessionId>,
}

/// Whose instances are limited in number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Registrant {
    Host(IpAddr),
    Identity(String),
}

/// What only one instance of a host can listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    host: Host,
    port: u16,
    protocol: Protocol,
}

// === impl Owner ===

impl Owner {
    pub(crate) fn new(origin: &CommandOrigin) -> Self {
        let identity = origin.grants().map(|grants| grants.identity().to_owned());
        Self { peer: origin.peer(), identity, fenced: Vec::new(), session: None }
    }

    /// Returns whose number of instances includes this one.
    pub(crate) fn registrants(&self) -> impl Iterator<Item = Registrant> {
        let identity = self.identity.clone().map(Registrant::Identity);
        self.peer.map(Registrant::Host).into_iter().chain(identity)
    }

    /// Whether this owner has replaced the incarnation.
    pub(crate) fn has_fenced(&self, id: &ServiceId, incarnation: Incarnation) -> bool {
        self.fenced.iter().any(|fenced| (&fenced.0, fenced.1) == (id, incarnation))
    }

    /// Fences the incarnation of an instance that the new one replaces, and what its owner had fenced. An
    /// incarnation that was learned by broadcast may be forged, so it is not fenced for those that register.
    pub(crate) fn replace(&mut self, new: &ServiceEndpoint, old: &ServiceEndpoint, owner: &Self) {
        if old.source != new.source {
            return;
        }
        if old.id == new.id && old.incarnation.is_some() && old.incarnation == new.incarnation {
            // The same run, whose agent holds the same session.
            self.session = owner.session;
        }
        let replaced = old.incarnation.map(|incarnation| (old.id.clone(), incarnation));
        for fenced in owner.fenced.iter().cloned().chain(replaced) {
            let is_own = (&fenced.0, Some(fenced.1)) == (&new.id, new.incarnation);
            if !is_own && !self.fenced.contains(&fenced) {
                self.fenced.push(fenced);
            }
        }
        self.fenced.drain(..self.fenced.len().saturating_sub(FENCED));
    }

    /// Whether a registration from `origin` comes from the host of this owner. Behind a proxy that hides the
    /// hosts, the registered host decides.
    pub(crate) fn is_on_host_of(
        &self,
        endpoint: &ServiceEndpoint,
        origin: &CommandOrigin,
        new: &ServiceEndpoint,
    ) -> bool {
        match (self.peer, origin.peer()) {
            (Some(owner), Some(peer)) => owner == peer,
            (None, None) => endpoint.host == new.host,
            _ => false,
        }
    }
}

// === impl Place ===

impl Place {
    /// Returns the places of an instance: one for each of its hosts.
    pub(crate) fn all(endpoint: &ServiceEndpoint) -> impl Iterator<Item = Self> {
        endpoint.hosts().map(|host| Self::new(host, endpoint.port_at(host), &endpoint.protocol))
    }

    /// Returns the places that a registration asks for.
    pub(crate) fn requested(registration: &Registration) -> impl Iterator<Item = Self> {
        let Registration { host, addresses, protocol, .. } = registration;
        let hosts = std::iter::once(host).chain(addresses);
        hosts.map(|host| Self::new(host, registration.port_at(host), protocol))
    }

    /// The place as text, such as for a key: `10.0.0.7/8080/http`.
    #[cfg(any(feature = "etcd", feature = "consul"))]
    pub(crate) fn key(&self) -> String {
        format!("{}/{}/{}", self.host, self.port, self.protocol)
    }

    fn new(host: &Host, port: u16, protocol: &Protocol) -> Self {
        Self { host: normal(host), port, protocol: protocol.clone() }
    }
}

/// One spelling of each host: names of loopback as `127.0.0.1`, other names in lower case.
fn normal(host: &Host) -> Host {
    match host.address() {
        Some(_) => host.clone(),
        None if host.is_loopback() => Host::loopback(),
        None => {
            let name = host.to_string().trim_end_matches('.').to_ascii_lowercase();
            name.parse().unwrap_or_else(|_| host.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::Ttl;

    use super::*;

    fn registration(hosts: [&str; 2]) -> Registration {
        let [host, other] = hosts.map(|host| host.parse().unwrap());
        let mut registration = Registration::new("api".parse().unwrap(), host, 8080);
        registration.addresses = vec![other];
        registration
    }

    #[test]
    fn place_has_one_spelling() {
        let places: Vec<_> = Place::requested(&registration(["localhost", "127.0.0.1"])).collect();
        assert_eq!(places[0], places[1]);
        let places: Vec<_> =
            Place::requested(&registration(["DB.example.org.", "db.example.org"])).collect();
        assert_eq!(places[0], places[1]);
        let places: Vec<_> = Place::requested(&registration(["10.0.0.7", "10.0.0.8"])).collect();
        assert_ne!(places[0], places[1]);
    }

    #[test]
    fn number_of_fenced_incarnations_is_bounded() {
        let origin = CommandOrigin::local();
        let mut owner = Owner::new(&origin);
        for number in 0..100 {
            let at = |number| {
                let mut registration = registration(["10.0.0.7", "10.0.0.8"]);
                registration.incarnation = Some(Incarnation::new(number));
                registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH)
            };
            let mut next = Owner::new(&origin);
            next.replace(&at(number + 1), &at(number), &owner);
            owner = next;
        }
        assert_eq!(owner.fenced.len(), FENCED);
        let id = registration(["10.0.0.7", "10.0.0.8"]).id();
        assert!(owner.has_fenced(&id, Incarnation::new(99)));
        assert!(!owner.has_fenced(&id, Incarnation::new(0)));
    }
}

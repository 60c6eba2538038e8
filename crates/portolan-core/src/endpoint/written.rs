//! How endpoints and registrations are written as JSON: from where they are, without a copy.

use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::json::SCOPE_KEY;
use super::{Registration, ServiceEndpoint, Source};
use crate::{
    HealthStatus, Host, Incarnation, Metadata, Protocol, Revision, Scope, ServiceId, ServiceName,
    Ttl,
};

/// The metadata with the scope as an entry of its own, in the order of the keys.
#[derive(Debug, PartialEq)]
struct Labels<'a> {
    metadata: &'a Metadata,
    scope: &'a Scope,
}

/// The members of an endpoint in JSON, some of which may be left out.
#[derive(Debug, Serialize)]
pub struct EndpointMembers<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a ServiceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a ServiceName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a Host>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'a Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Labels<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Ttl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_heartbeat: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<Revision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<&'a [Host]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<Incarnation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a ServiceId>,
    name: &'a ServiceName,
    host: &'a Host,
    port: u16,
    protocol: &'a Protocol,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    metadata: Labels<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Ttl>,
    #[serde(skip_serializing_if = "<[Host]>::is_empty")]
    addresses: &'a [Host],
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<Incarnation>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replace: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_health: Option<HealthStatus>,
}

// === impl EndpointMembers ===

impl<'a> EndpointMembers<'a> {
    /// All members.
    pub fn all(endpoint: &'a ServiceEndpoint) -> Self {
        let text = |text: &'a str| (!text.is_empty()).then_some(text);
        let labels = Labels { metadata: &endpoint.metadata, scope: &endpoint.scope };
        Self {
            id: Some(&endpoint.id),
            name: Some(&endpoint.name),
            host: Some(&endpoint.host),
            port: Some(endpoint.port),
            protocol: Some(&endpoint.protocol),
            version: text(&endpoint.version),
            metadata: (!labels.is_empty()).then_some(labels),
            health_url: endpoint.health_url.as_deref(),
            ttl: Some(endpoint.ttl),
            registered_at: Some(endpoint.registered_at),
            last_heartbeat: Some(endpoint.last_heartbeat),
            health: Some(endpoint.health),
            health_reason: text(&endpoint.health_reason),
            revision: Some(endpoint.revision),
            addresses: (!endpoint.addresses.is_empty()).then_some(&endpoint.addresses),
            incarnation: endpoint.incarnation,
            source: Some(endpoint.source),
        }
    }

    /// Without those that change although nobody requests it: the revision and the times.
    pub fn requested(endpoint: &'a ServiceEndpoint) -> Self {
        let (revision, registered_at, last_heartbeat) = (None, None, None);
        Self { revision, registered_at, last_heartbeat, ..Self::all(endpoint) }
    }

    /// The members of each that the other one has not, or has with another value.
    pub fn differing(mut one: Self, mut other: Self) -> (Self, Self) {
        /// Leaves out what both have.
        fn leave_out<T: PartialEq>(one: &mut Option<T>, other: &mut Option<T>) {
            if one == other {
                (*one, *other) = (None, None);
            }
        }
        leave_out(&mut one.id, &mut other.id);
        leave_out(&mut one.name, &mut other.name);
        leave_out(&mut one.host, &mut other.host);
        leave_out(&mut one.port, &mut other.port);
        leave_out(&mut one.protocol, &mut other.protocol);
        leave_out(&mut one.version, &mut other.version);
        leave_out(&mut one.metadata, &mut other.metadata);
        leave_out(&mut one.health_url, &mut other.health_url);
        leave_out(&mut one.ttl, &mut other.ttl);
        leave_out(&mut one.registered_at, &mut other.registered_at);
        leave_out(&mut one.last_heartbeat, &mut other.last_heartbeat);
        leave_out(&mut one.health, &mut other.health);
        leave_out(&mut one.health_reason, &mut other.health_reason);
        leave_out(&mut one.revision, &mut other.revision);
        leave_out(&mut one.addresses, &mut other.addresses);
        leave_out(&mut one.incarnation, &mut other.incarnation);
        leave_out(&mut one.source, &mut other.source);
        (one, other)
    }
}

impl Serialize for ServiceEndpoint {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        EndpointMembers::all(self).serialize(out)
    }
}

impl Serialize for Registration {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        Request {
            id: self.id.as_ref(),
            name: &self.name,
            host: &self.host,
            port: self.port,
            protocol: &self.protocol,
            version: &self.version,
            metadata: Labels { metadata: &self.metadata, scope: &self.scope },
            health_url: self.health_url.as_deref(),
            ttl: self.ttl,
            addresses: &self.addresses,
            incarnation: self.incarnation,
            replace: self.replace,
            initial_health: self.initial_health,
        }
        .serialize(out)
    }
}

// === impl Labels ===

impl Labels<'_> {
    fn is_empty(&self) -> bool {
        self.metadata.is_empty() && self.scope.is_default()
    }
}

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut scope = (!self.scope.is_default()).then_some(self.scope);
        let mut map =
            out.serialize_map(Some(self.metadata.len() + usize::from(scope.is_some())))?;
        for (key, value) in self.metadata.iter() {
            if let Some(scope) = scope.take_if(|_| key > SCOPE_KEY) {
                map.serialize_entry(SCOPE_KEY, scope)?;
            }
            map.serialize_entry(key, value)?;
        }
        if let Some(scope) = scope {
            map.serialize_entry(SCOPE_KEY, scope)?;
        }
        map.end()
    }
}

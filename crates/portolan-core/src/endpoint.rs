//! An instance of a service: how it is described, and how it is kept.
//!
//! On the wire the scope travels as `metadata.scope`, so that programs which know nothing of
//! scopes are not surprised; here it is a field of its own, and never in `metadata`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    HealthStatus, Host, Protocol, Revision, Scope, ServiceId, ServiceName, Ttl, name::InvalidName,
};

mod json;

use json::{Request, Wire};

/// Facts about an instance that Portolan passes on and does not interpret.
pub type Metadata = BTreeMap<String, String>;

/// The member of `metadata`, and its value, by which the agent of an instance says that it checks
/// the instance itself and reports what it finds, so that nobody else needs to.
pub const CHECKED_BY_AGENT: (&str, &str) = ("checked_by", "agent");
/// How many metadata entries there may be.
const METADATA_ENTRIES: usize = 64;
/// How many bytes one key may have.
const METADATA_KEY: usize = 128;
/// How many bytes one value may have.
const METADATA_VALUE: usize = 4096;
/// How many bytes a version or a health URL may have.
const TEXT: usize = 2048;

/// One instance of a service, as a registry keeps it and a client gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct ServiceEndpoint {
    /// Tells this instance from all others.
    pub id: ServiceId,
    /// The service it is an instance of.
    pub name: ServiceName,
    /// The world in which the name is looked up.
    pub scope: Scope,
    /// Where it is reached.
    pub host: Host,
    /// The port it is reached on, never 0.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its version, in its own words; empty where it has none.
    pub version: String,
    /// Whatever else it wants known.
    pub metadata: Metadata,
    /// The URL at which its health is checked; its scheme names the kind of check.
    pub health_url: Option<String>,
    /// How long it stays without a sign of life.
    pub ttl: Ttl,
    /// When it was registered first.
    pub registered_at: Timestamp,
    /// When it last gave a sign of life.
    pub last_heartbeat: Timestamp,
    /// How well it is.
    pub health: HealthStatus,
    /// Why its health is what it is; empty where there is nothing to say.
    pub health_reason: String,
    /// The revision at which it last changed.
    pub revision: Revision,
}

/// What a service says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Request")]
pub struct Registration {
    /// Its id; where it has none, one is derived from scope, name, host and port.
    pub id: Option<ServiceId>,
    /// The service it is an instance of.
    pub name: ServiceName,
    /// The world in which the name is looked up.
    pub scope: Scope,
    /// Where it is reached.
    pub host: Host,
    /// The port it is reached on, never 0.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its version, in its own words; empty where it has none.
    pub version: String,
    /// Whatever else it wants known.
    pub metadata: Metadata,
    /// The URL at which its health is checked; its scheme names the kind of check.
    pub health_url: Option<String>,
    /// How long it stays without a sign of life; the registry's own default where it says nothing.
    pub ttl: Option<Ttl>,
}

/// Why what a service says of itself cannot be kept. Retrying does not help: it must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRegistration {
    /// The scope in `metadata.scope` is not one.
    #[error("metadata.scope: {0}")]
    Scope(#[source] InvalidName),
    /// Two scopes at once.
    #[error("scope says {scope} and metadata.scope says {carried}; leave one of them out")]
    TwoScopes {
        /// What the member `scope` says.
        scope: Scope,
        /// What the metadata says.
        carried: Scope,
    },
    /// A health URL that nobody could ask.
    #[error(
        "health_url: {url:?}: {problem}; write it like http://127.0.0.1:8080/health or tcp://127.0.0.1:5432"
    )]
    HealthUrl {
        /// The URL, cut where it is long.
        url: String,
        /// What the matter is with it.
        problem: String,
    },
    /// The port is 0.
    #[error("port: 0 is not a port; a port is a number from 1 to 65535")]
    PortZero,
    /// Something is longer than it may be.
    #[error("{place}: {length} is too much; the limit is {limit} {unit}")]
    TooMuch {
        /// The member it was found in.
        place: String,
        /// How much was found.
        length: usize,
        /// How much there may be.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// A metadata key without a character.
    #[error("metadata: a key is empty; give it a name")]
    EmptyKey,
    /// A character that would break a log line or an environment variable.
    #[error("{place}: has a control character; leave it out")]
    ControlCharacter {
        /// The member it was found in.
        place: String,
    },
}

// === impl ServiceEndpoint ===

impl ServiceEndpoint {
    /// Host and port as a URL or a connect call takes them: `127.0.0.1:5432`, `[::1]:5432`.
    pub fn address(&self) -> String {
        self.host.with_port(self.port)
    }

    /// The endpoint as a URL: `http://127.0.0.1:8080`, with the protocol as its scheme.
    pub fn url(&self) -> String {
        format!("{}://{}", self.protocol, self.address())
    }

    /// Whether its own agent checks it and reports what it finds.
    pub fn is_checked_by_agent(&self) -> bool {
        let (key, value) = CHECKED_BY_AGENT;
        self.metadata.get(key).is_some_and(|by| by == value)
    }

    /// Whether anybody looks after its health: its agent, or a registry that asks its health URL.
    pub fn is_checked(&self) -> bool {
        self.is_checked_by_agent() || self.health_url.is_some()
    }

    /// Whether one may count on it: it is well, or there is nobody who would know better.
    pub fn is_ready(&self) -> bool {
        match self.health {
            HealthStatus::Passing | HealthStatus::Warning => true,
            HealthStatus::Unknown => !self.is_checked(),
            HealthStatus::Critical => false,
        }
    }

    /// Whether the other describes the same instance in the same words, bookkeeping aside.
    pub fn same_contents(&self, other: &Self) -> bool {
        let contents = |e: &Self| Registration::from(e.clone());
        contents(self) == contents(other)
    }
}

// === impl Registration ===

impl Registration {
    /// An instance at a host and port; everything else at its default.
    pub fn new(name: ServiceName, host: Host, port: u16) -> Self {
        Self {
            id: None,
            name,
            scope: Scope::default(),
            host,
            port,
            protocol: Protocol::default(),
            version: String::new(),
            metadata: Metadata::new(),
            health_url: None,
            ttl: None,
        }
    }

    /// Its own id, or the one that follows from scope, name, host and port, so that a restarted
    /// service replaces itself and leaves no ghost.
    pub fn id(&self) -> ServiceId {
        self.id.clone().unwrap_or_else(|| self.derived_id())
    }

    /// Checks every bound that the types do not carry.
    pub fn validate(&self) -> Result<(), InvalidRegistration> {
        if self.port == 0 {
            return Err(InvalidRegistration::PortZero);
        }
        check_text("version", &self.version, TEXT)?;
        check_text("health_url", self.health_url.as_deref().unwrap_or(""), TEXT)?;
        check_limit("metadata", self.metadata.len(), METADATA_ENTRIES, "entries")?;
        self.metadata.iter().try_for_each(check_entry)
    }

    /// The endpoint that this becomes when it is kept.
    pub fn into_endpoint(self, default_ttl: Ttl, now: Timestamp) -> ServiceEndpoint {
        ServiceEndpoint {
            id: self.id(),
            name: self.name,
            scope: self.scope,
            host: self.host,
            port: self.port,
            protocol: self.protocol,
            version: self.version,
            metadata: self.metadata,
            health_url: self.health_url,
            ttl: self.ttl.unwrap_or(default_ttl),
            registered_at: now,
            last_heartbeat: now,
            health: HealthStatus::Unknown,
            health_reason: String::new(),
            revision: Revision::default(),
        }
    }

    fn derived_id(&self) -> ServiceId {
        let Self { name, scope, host, port, .. } = self;
        // A name of a host ends in a dot where it is fully qualified; the id is the same without.
        let host = host.to_string();
        let host = host.trim_end_matches('.');
        let id = match scope.is_default() {
            true => format!("{name}@{host}:{port}"),
            false => format!("{scope}:{name}@{host}:{port}"),
        };
        id.parse().expect("names and hosts have the alphabet of ids, and ids have room for them")
    }
}

impl From<ServiceEndpoint> for Registration {
    fn from(endpoint: ServiceEndpoint) -> Self {
        Self {
            id: Some(endpoint.id),
            name: endpoint.name,
            scope: endpoint.scope,
            host: endpoint.host,
            port: endpoint.port,
            protocol: endpoint.protocol,
            version: endpoint.version,
            metadata: endpoint.metadata,
            health_url: endpoint.health_url,
            ttl: Some(endpoint.ttl),
        }
    }
}

fn check_entry((key, value): (&String, &String)) -> Result<(), InvalidRegistration> {
    if key.is_empty() {
        return Err(InvalidRegistration::EmptyKey);
    }
    check_text("metadata key", key, METADATA_KEY)?;
    check_text(&format!("metadata.{key}"), value, METADATA_VALUE)
}

fn check_text(place: &str, text: &str, limit: usize) -> Result<(), InvalidRegistration> {
    check_limit(place, text.len(), limit, "bytes")?;
    match text.chars().any(char::is_control) {
        true => Err(InvalidRegistration::ControlCharacter { place: place.to_owned() }),
        false => Ok(()),
    }
}

fn check_limit(
    place: &str,
    length: usize,
    limit: usize,
    unit: &'static str,
) -> Result<(), InvalidRegistration> {
    match length > limit {
        true => Err(InvalidRegistration::TooMuch { place: place.to_owned(), length, limit, unit }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;

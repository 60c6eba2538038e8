//! Service instances: the registration that a service submits, and the endpoint that the registry
//! stores.
//!
//! In JSON the scope is `metadata.scope`, so that programs without scopes can ignore it. Here it is
//! a separate field and never in `metadata`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ADDRESS_PORTS, AddressPort, HealthStatus, Host, Incarnation, MapOnly, Metadata, Protocol,
    Revision, Scope, ServiceId, ServiceName, Ttl, name::InvalidName, plain::is_deceptive,
};

mod json;
mod written;

use json::{Request, Wire};
pub use written::EndpointMembers;

/// The metadata entry with which an agent declares that it checks the health of the instance
/// itself, so that the registry does not.
pub const CHECKED_BY_AGENT: (&str, &str) = ("checked_by", "agent");
/// The metadata entry with which an agent declares that the instance is about to stop: it still serves requests, and callers
/// choose another instance if there is one.
pub const DRAINING: (&str, &str) = ("portolan.state", "draining");

/// The key of the metadata entry with which an agent announces the version of the settings that its service has in the registry.
pub const SETTINGS_VERSION: &str = "portolan.settings";

/// Returns whether the metadata says that the instance is about to stop.
pub fn is_draining(metadata: &Metadata) -> bool {
    let (key, value) = DRAINING;
    metadata.get(key).is_some_and(|state| state == value)
}

/// The maximum number of further addresses.
const ADDRESSES: usize = 32;
/// The maximum number of metadata entries.
const METADATA_ENTRIES: usize = 64;
/// The maximum length of a metadata key in bytes.
const METADATA_KEY: usize = 128;
/// The maximum length of a metadata value in bytes.
const METADATA_VALUE: usize = 4096;
/// The maximum length of a version or a health URL in bytes.
const TEXT: usize = 2048;

/// An instance of a service, as stored by the registry and returned to clients.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "MapOnly<Wire>")]
pub struct ServiceEndpoint {
    /// The id of the instance.
    pub id: ServiceId,
    /// The name of the service.
    pub name: ServiceName,
    /// The scope in which the name is looked up.
    pub scope: Scope,
    /// The host at which clients reach the instance.
    pub host: Host,
    /// Further hosts at which the instance can be reached, such as the address of each interface.
    pub addresses: Vec<Host>,
    /// The port, never 0.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The version as free text; empty if there is none.
    pub version: String,
    /// Metadata.
    pub metadata: Metadata,
    /// The URL of the health check. Its scheme is the type of the check.
    pub health_url: Option<String>,
    /// The time to live without a heartbeat.
    pub ttl: Ttl,
    /// When the instance was first registered.
    pub registered_at: Timestamp,
    /// When the instance last sent a heartbeat.
    pub last_heartbeat: Timestamp,
    /// The health status.
    pub health: HealthStatus,
    /// The reason of the health status; may be empty.
    pub health_reason: String,
    /// The revision of the last change.
    pub revision: Revision,
    /// The run of the registrant that owns the registration, if known.
    pub incarnation: Option<Incarnation>,
    /// How the registry learned of the instance.
    pub source: Source,
}

/// How the registry learned of an instance.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// It was registered through the API.
    #[default]
    Registered,
    /// It is registered in Consul by a client of Consul. As strong as registered, and changed there only.
    Consul,
    /// It was announced on the broadcast channel, which is weaker: a datagram is not authenticated
    /// unless it is signed.
    Broadcast,
}

/// A request to register an instance.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "MapOnly<Request>")]
pub struct Registration {
    /// The id; `None` is derived from scope, name, host and port.
    pub id: Option<ServiceId>,
    /// The name of the service.
    pub name: ServiceName,
    /// The scope in which the name is looked up.
    pub scope: Scope,
    /// The host at which clients reach the instance.
    pub host: Host,
    /// Further hosts at which the instance can be reached, such as the address of each interface.
    pub addresses: Vec<Host>,
    /// The port, never 0.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The version as free text; empty if there is none.
    pub version: String,
    /// Metadata.
    pub metadata: Metadata,
    /// The URL of the health check. Its scheme is the type of the check.
    pub health_url: Option<String>,
    /// The time to live without a heartbeat; `None` is the default of the registry.
    pub ttl: Option<Ttl>,
    /// The run of the registrant that owns the registration. Requests of another run are refused.
    pub incarnation: Option<Incarnation>,
    /// Whether to take over a registration that another host owns and has not let expire.
    pub replace: bool,
    /// The health of the instance if it is new, until it is reported or checked; `None` is unknown. It is for a registrant that
    /// has it from elsewhere.
    pub initial_health: Option<HealthStatus>,
}

/// Why a registration is invalid. Permanent: the registration must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRegistration {
    /// The scope in `metadata.scope` is invalid.
    #[error("metadata.scope: {0}")]
    Scope(#[source] InvalidName),
    /// `scope` and `metadata.scope` differ.
    #[error("scope is {scope}, but metadata.scope is {carried}, expected only one of them")]
    TwoScopes {
        /// The value of `scope`.
        scope: Scope,
        /// The value of `metadata.scope`.
        carried: Scope,
    },
    /// The health URL is invalid.
    #[error(
        "health_url: {url}: {problem}, expected a URL such as http://127.0.0.1:8080/health or tcp://127.0.0.1:5432"
    )]
    HealthUrl {
        /// The URL, in quotation marks.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The port is 0.
    #[error("port: 0 is not a port, expected a number from 1 to 65535")]
    PortZero,
    /// A member exceeds its limit.
    #[error("{place}: {length} {unit}, the limit is {limit}")]
    TooMuch {
        /// The member.
        place: String,
        /// The size found.
        length: usize,
        /// The limit.
        limit: usize,
        /// The unit of both.
        unit: &'static str,
    },
    /// A metadata key is empty.
    #[error("metadata: empty key")]
    EmptyKey,
    /// A metadata key that the agent sets has another value.
    #[error("metadata.{key}: {value} was given, but the agent sets it; expected another key")]
    ReservedKey {
        /// The key.
        key: &'static str,
        /// The value, in quotation marks.
        value: String,
    },
    /// A character that is not shown, or that changes the order in which text is shown.
    #[error("{place}: contains an invisible character or a control of the text direction")]
    DeceptiveCharacter {
        /// The member.
        place: String,
    },
    /// The metadata entry with the ports of the addresses is not valid, or lacks one of them.
    #[error("metadata.{ADDRESS_PORTS}: {problem}")]
    AddressPorts {
        /// What is wrong with it.
        problem: String,
    },
    /// A control character, which would corrupt log lines and environment variables.
    #[error("{place}: contains a control character")]
    ControlCharacter {
        /// The member.
        place: String,
    },
}

// === impl Source ===

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Registered => "registered",
            Self::Consul => "consul",
            Self::Broadcast => "broadcast",
        })
    }
}

// === impl ServiceEndpoint ===

impl ServiceEndpoint {
    /// Returns host and port in the form of URLs and socket addresses: `127.0.0.1:5432`,
    /// `[::1]:5432`.
    pub fn address(&self) -> String {
        self.host.with_port(self.port)
    }

    /// Returns the endpoint as a URL with the protocol as its scheme: `http://127.0.0.1:8080`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.protocol, self.address())
    }

    /// Returns whether the agent of the instance checks its health.
    pub fn is_checked_by_agent(&self) -> bool {
        let (key, value) = CHECKED_BY_AGENT;
        self.metadata.get(key).is_some_and(|by| by == value)
    }

    /// Returns whether the instance is about to stop.
    pub fn is_draining(&self) -> bool {
        is_draining(&self.metadata)
    }

    /// Returns whether the health is checked, by the agent or by the registry.
    pub fn is_checked(&self) -> bool {
        self.is_checked_by_agent() || self.health_url.is_some()
    }

    /// Returns whether clients can use the instance: it is passing or in warning, or its health is
    /// not checked, and it is not about to stop.
    pub fn is_ready(&self) -> bool {
        if self.is_draining() {
            return false;
        }
        match self.health {
            HealthStatus::Passing | HealthStatus::Warning => true,
            HealthStatus::Unknown => !self.is_checked(),
            HealthStatus::Critical => false,
        }
    }

    /// Returns whether both describe the same registration, ignoring timestamps, health and
    /// revision.
    pub fn same_contents(&self, other: &Self) -> bool {
        let contents = |e: &Self| Registration::from(e.clone());
        contents(self) == contents(other)
    }
}

// === impl Registration ===

impl Registration {
    /// Creates a registration with defaults for everything else.
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
            addresses: Vec::new(),
            incarnation: None,
            replace: false,
            initial_health: None,
        }
    }

    /// Returns the id, or else the one derived from scope, name, host and port. A restarted service
    /// thus replaces its previous registration.
    pub fn id(&self) -> ServiceId {
        self.id.clone().unwrap_or_else(|| self.derived_id())
    }

    /// Checks every limit that the types do not express.
    pub fn validate(&self) -> Result<(), InvalidRegistration> {
        if self.port == 0 {
            return Err(InvalidRegistration::PortZero);
        }
        check_text("version", &self.version, TEXT)?;
        check_visible("version", &self.version)?;
        check_text("health_url", self.health_url.as_deref().unwrap_or(""), TEXT)?;
        check_limit("addresses", self.addresses.len(), ADDRESSES, "hosts")?;
        check_limit("metadata", self.metadata.len(), METADATA_ENTRIES, "entries")?;
        self.metadata.iter().try_for_each(check_entry)?;
        self.check_address_ports()
    }

    /// Returns the port at one of the hosts.
    pub fn port_at(&self, host: &Host) -> u16 {
        AddressPort::of(&self.metadata, host).map_or(self.port, |address| address.port)
    }

    /// Checks that the ports of the addresses include every address: the endpoint could not be shown at another one otherwise.
    fn check_address_ports(&self) -> Result<(), InvalidRegistration> {
        let Some(entry) = self.metadata.get(ADDRESS_PORTS) else { return Ok(()) };
        let invalid = |problem: String| InvalidRegistration::AddressPorts { problem };
        let listed: Result<Vec<AddressPort>, _> = entry.split(' ').map(str::parse).collect();
        let listed = listed.map_err(|error| invalid(error.to_string()))?;
        let of = |host: &Host| listed.iter().find(|address| address.host == *host);
        let mut hosts = std::iter::once(&self.host).chain(&self.addresses);
        if let Some(missing) = hosts.find(|host| of(host).is_none()) {
            return Err(invalid(format!("{missing} is missing, expected each address once")));
        }
        match of(&self.host) {
            Some(own) if own.port != self.port => {
                Err(invalid(format!("{own} is listed, but the port is {}", self.port)))
            }
            _ => Ok(()),
        }
    }

    /// Returns the endpoint that results from this registration.
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
            health: self.initial_health.unwrap_or_default(),
            health_reason: String::new(),
            revision: Revision::default(),
            addresses: self.addresses,
            incarnation: self.incarnation,
            source: Source::default(),
        }
    }

    fn derived_id(&self) -> ServiceId {
        let Self { name, scope, host, port, .. } = self;
        // A fully qualified host name may end with a dot; the id does not contain it.
        let host = host.to_string();
        let host = host.trim_end_matches('.');
        let id = if scope.is_default() {
            format!("{name}@{host}:{port}")
        } else {
            format!("{scope}:{name}@{host}:{port}")
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
            addresses: endpoint.addresses,
            incarnation: endpoint.incarnation,
            replace: false,
            initial_health: None,
        }
    }
}

fn check_entry((key, value): (&str, &str)) -> Result<(), InvalidRegistration> {
    if key.is_empty() {
        return Err(InvalidRegistration::EmptyKey);
    }
    check_text("metadata key", key, METADATA_KEY)?;
    check_text(&format!("metadata.{key}"), value, METADATA_VALUE)
}

fn check_text(place: &str, text: &str, limit: usize) -> Result<(), InvalidRegistration> {
    check_limit(place, text.len(), limit, "bytes")?;
    if text.chars().any(char::is_control) {
        Err(InvalidRegistration::ControlCharacter { place: place.to_owned() })
    } else {
        Ok(())
    }
}

/// Rejects characters that reorder or hide what stands beside them in a table.
fn check_visible(place: &str, text: &str) -> Result<(), InvalidRegistration> {
    match text.contains(is_deceptive) {
        true => Err(InvalidRegistration::DeceptiveCharacter { place: place.to_owned() }),
        false => Ok(()),
    }
}

fn check_limit(
    place: &str,
    length: usize,
    limit: usize,
    unit: &'static str,
) -> Result<(), InvalidRegistration> {
    if length > limit {
        Err(InvalidRegistration::TooMuch { place: place.to_owned(), length, limit, unit })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;

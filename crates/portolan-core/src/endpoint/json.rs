//! JSON of endpoints and registrations. Registrations are parsed strictly, endpoints of peers
//! leniently.

use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

use super::{InvalidRegistration, Registration, ServiceEndpoint, Source};
use crate::{
    HealthStatus, Host, Incarnation, MapOnly, Metadata, Protocol, Revision, Scope, ServiceId,
    ServiceName, Ttl, port, quoted,
};

/// The metadata key of the scope in JSON.
pub(super) const SCOPE_KEY: &str = "scope";

/// The JSON of a registration. Unknown members are rejected, so that a typing error is not ignored.
/// Members that only the registry sets are accepted and ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    id: Option<ServiceId>,
    name: ServiceName,
    scope: Option<Scope>,
    host: Host,
    #[serde(deserialize_with = "port::deserialize")]
    port: u16,
    #[serde(default)]
    protocol: Protocol,
    #[serde(default)]
    version: String,
    #[serde(default)]
    metadata: Metadata,
    health_url: Option<String>,
    ttl: Option<Ttl>,
    #[serde(default)]
    addresses: Vec<Host>,
    incarnation: Option<Incarnation>,
    #[serde(default)]
    replace: bool,
    initial_health: Option<HealthStatus>,
    #[serde(rename = "registered_at")]
    _registered_at: Option<serde::de::IgnoredAny>,
    #[serde(rename = "last_heartbeat")]
    _last_heartbeat: Option<serde::de::IgnoredAny>,
    #[serde(rename = "health")]
    _health: Option<serde::de::IgnoredAny>,
    #[serde(rename = "health_reason")]
    _health_reason: Option<serde::de::IgnoredAny>,
    #[serde(rename = "revision")]
    _revision: Option<serde::de::IgnoredAny>,
    #[serde(rename = "source")]
    _source: Option<serde::de::IgnoredAny>,
}

impl TryFrom<MapOnly<Request>> for Registration {
    type Error = InvalidRegistration;

    fn try_from(MapOnly(mut request): MapOnly<Request>) -> Result<Self, InvalidRegistration> {
        let carried = take_scope(&mut request.metadata)?;
        check_health_url(request.health_url.as_deref())?;
        let registration = Self {
            id: request.id,
            name: request.name,
            scope: one_scope(request.scope, carried)?,
            host: request.host,
            port: request.port,
            protocol: request.protocol,
            version: request.version,
            metadata: request.metadata,
            health_url: request.health_url,
            ttl: request.ttl,
            addresses: request.addresses,
            incarnation: request.incarnation,
            replace: request.replace,
            initial_health: request.initial_health,
        };
        registration.validate()?;
        Ok(registration)
    }
}

/// The JSON of an endpoint. Unknown members are ignored, because a peer may be newer.
#[derive(Deserialize)]
pub(super) struct Wire {
    id: Option<ServiceId>,
    name: ServiceName,
    host: Host,
    #[serde(deserialize_with = "port::deserialize")]
    port: u16,
    #[serde(default)]
    protocol: Protocol,
    #[serde(default)]
    version: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    health_url: Option<String>,
    #[serde(default)]
    ttl: Ttl,
    #[serde(default)]
    registered_at: Timestamp,
    #[serde(default)]
    last_heartbeat: Timestamp,
    #[serde(default)]
    health: HealthStatus,
    #[serde(default)]
    health_reason: String,
    #[serde(default)]
    revision: Revision,
    #[serde(default)]
    addresses: Vec<Host>,
    #[serde(default)]
    incarnation: Option<Incarnation>,
    #[serde(default)]
    source: Source,
}

impl TryFrom<MapOnly<Wire>> for ServiceEndpoint {
    type Error = InvalidRegistration;

    fn try_from(MapOnly(mut wire): MapOnly<Wire>) -> Result<Self, InvalidRegistration> {
        let scope = take_scope(&mut wire.metadata)?.unwrap_or_default();
        let registration = Registration {
            id: wire.id,
            name: wire.name,
            scope,
            host: wire.host,
            port: wire.port,
            protocol: wire.protocol,
            version: wire.version,
            metadata: wire.metadata,
            health_url: wire.health_url,
            ttl: Some(wire.ttl),
            addresses: wire.addresses,
            incarnation: wire.incarnation,
            replace: false,
            initial_health: None,
        };
        registration.validate()?;
        Ok(Self {
            registered_at: wire.registered_at,
            last_heartbeat: wire.last_heartbeat,
            health: wire.health,
            health_reason: wire.health_reason,
            revision: wire.revision,
            source: wire.source,
            ..registration.into_endpoint(wire.ttl, wire.registered_at)
        })
    }
}

fn one_scope(scope: Option<Scope>, carried: Option<Scope>) -> Result<Scope, InvalidRegistration> {
    match (scope, carried) {
        (Some(scope), Some(carried)) if scope != carried => {
            Err(InvalidRegistration::TwoScopes { scope, carried })
        }
        (scope, carried) => Ok(scope.or(carried).unwrap_or_default()),
    }
}

/// Checks that the text is a URL. The process that runs the check decides which schemes are
/// supported.
fn check_health_url(url: Option<&str>) -> Result<(), InvalidRegistration> {
    let Some(text) = url else { return Ok(()) };
    match Url::parse(text) {
        Ok(url) if url.has_host() => Ok(()),
        Ok(_) => Err("the host is missing".to_owned()),
        Err(error) => Err(error.to_string()),
    }
    .map_err(|problem| InvalidRegistration::HealthUrl { url: quoted(text), problem })
}

fn take_scope(metadata: &mut Metadata) -> Result<Option<Scope>, InvalidRegistration> {
    let scope = metadata.remove(SCOPE_KEY).map(|scope| scope.parse());
    scope.transpose().map_err(InvalidRegistration::Scope)
}

//! The section `discovery.endpoints` of the configuration: endpoints that a person wrote down.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use portolan_core::{
    Host, InvalidRegistration, Metadata, Protocol, Registration, Remedy, Scope, ServiceEndpoint,
    ServiceName, Ttl, quoted,
};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use url::Url;

/// How many endpoints one service may have in the configuration.
const MAX_ENDPOINTS: usize = 1_000;

/// The endpoints of one service as the configuration gives them: one, or a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ConfiguredEndpoints(Vec<ConfiguredEndpoint>);

/// One endpoint as the configuration gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredEndpoint {
    /// The host, as an IP address or a name.
    pub host: Host,
    /// The port.
    #[serde(deserialize_with = "portolan_core::port::deserialize")]
    pub port: u16,
    /// The protocol. Default `tcp`, or the scheme of a URL.
    #[serde(default)]
    pub protocol: Protocol,
    /// The version. Default empty.
    #[serde(default)]
    pub version: String,
    /// Further properties. Default empty.
    #[serde(default)]
    pub metadata: Metadata,
}

/// A text that is not an endpoint. Retrying does not help: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid endpoint {text}: {reason}")]
pub struct InvalidEndpoint {
    text: String,
    reason: String,
}

// === impl ConfiguredEndpoint ===

impl ConfiguredEndpoint {
    pub(crate) fn endpoint(&self, name: &ServiceName, scope: &Scope) -> ServiceEndpoint {
        self.registration(name.clone(), scope.clone())
            .into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH)
    }

    fn validated(self) -> Result<Self, InvalidRegistration> {
        let name = "x".parse().expect("one letter is a name");
        self.registration(name, Scope::default()).validate().map(|()| self)
    }

    fn registration(&self, name: ServiceName, scope: Scope) -> Registration {
        Registration {
            scope,
            protocol: self.protocol.clone(),
            version: self.version.clone(),
            metadata: self.metadata.clone(),
            ..Registration::new(name, self.host.clone(), self.port)
        }
    }
}

impl std::str::FromStr for ConfiguredEndpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |reason: String| InvalidEndpoint { text: quoted(text), reason };
        let parse = if text.contains("://") { from_url } else { from_address };
        let (protocol, host, port) = parse(text).map_err(invalid)?;
        let (version, metadata) = (String::new(), Metadata::new());
        Ok(Self { host, port, protocol, version, metadata })
    }
}

fn from_url(text: &str) -> Result<(Protocol, Host, u16), String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let host = url.host_str().ok_or("it has no host")?;
    let host = host.parse().map_err(|error: portolan_core::host::InvalidHost| error.to_string())?;
    let port = url.port_or_known_default().filter(|port| *port > 0).ok_or("it has no port")?;
    let protocol = url.scheme().parse();
    let protocol = protocol.map_err(|error: portolan_core::name::InvalidName| error.to_string())?;
    Ok((protocol, host, port))
}

fn from_address(text: &str) -> Result<(Protocol, Host, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("it has no port")?;
    // Without brackets the port is ambiguous: `::1:5432` is an IPv6 address itself.
    if host.contains(':') && !host.starts_with('[') {
        return Err("an IPv6 address must be in brackets, as in [::1]:5432".to_owned());
    }
    let host = host.parse().map_err(|error: portolan_core::host::InvalidHost| error.to_string())?;
    let port = portolan_core::port::parse(port).map_err(|error| error.to_string())?;
    Ok((Protocol::default(), host, port))
}

// === impl InvalidEndpoint ===

impl Remedy for InvalidEndpoint {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some("write it like 127.0.0.1:5432 or http://host:8080".into())
    }
}

// === impl ConfiguredEndpoints ===

impl ConfiguredEndpoints {
    /// Returns the endpoints in the configured order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ConfiguredEndpoint> {
        self.0.iter()
    }
}

impl<'de> Deserialize<'de> for ConfiguredEndpoints {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = ConfiguredEndpoints;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an endpoint as host:port, as a URL or as {host, port}, or a list of these")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ConfiguredEndpoints, E> {
        let endpoint =
            text.parse().map_err(|error: InvalidEndpoint| E::custom(error.with_remedy()))?;
        Ok(ConfiguredEndpoints(vec![endpoint]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ConfiguredEndpoints, A::Error> {
        let endpoint = ConfiguredEndpoint::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ConfiguredEndpoints(vec![endpoint.validated().map_err(A::Error::custom)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ConfiguredEndpoints, A::Error> {
        let many = Vec::<ConfiguredEndpoints>::deserialize(SeqAccessDeserializer::new(seq))?;
        let endpoints: Vec<_> = many.into_iter().flat_map(|one| one.0).collect();
        if endpoints.len() > MAX_ENDPOINTS {
            return Err(A::Error::invalid_length(endpoints.len(), &"at most 1000 endpoints"));
        }
        Ok(ConfiguredEndpoints(endpoints))
    }
}

#[cfg(test)]
mod tests;

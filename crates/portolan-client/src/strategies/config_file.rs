//! Looks into the configuration: what a person wrote down.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use jiff::Timestamp;
use portolan_core::endpoint::Metadata;
use portolan_core::{
    Host, InvalidRegistration, Protocol, Registration, Scope, ServiceEndpoint, ServiceName, Ttl,
};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::strategy::{Candidate, Completeness, Kind, Strategy, StrategyOutcome, StrategyQuery};

/// How many endpoints one service may have in the configuration.
const MAX_ENDPOINTS: usize = 1_000;

pub(crate) static KIND: Kind = Kind {
    name: "config",
    completeness: Completeness::All,
    retries: false,
    // It is in memory, so the limit that all share is enough.
    timeout: |timeouts| timeouts.overall,
    build: |deps| {
        let scope = deps.scopes[0].clone();
        Ok(Arc::new(ConfigFile { endpoints: deps.config.endpoints.clone(), scope }))
    },
};

/// The endpoints of one service as the configuration gives them: one, or a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ConfiguredEndpoints(Vec<ConfiguredEndpoint>);

/// One endpoint as the configuration gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredEndpoint {
    /// Where it is reached.
    pub host: Host,
    /// The port it is reached on.
    #[serde(deserialize_with = "portolan_core::port::deserialize")]
    pub port: u16,
    /// What it speaks. Default `tcp`; a URL's own scheme where it is given as one.
    #[serde(default)]
    pub protocol: Protocol,
    /// Its version. Default empty.
    #[serde(default)]
    pub version: String,
    /// Whatever else is to be known of it. Default empty.
    #[serde(default)]
    pub metadata: Metadata,
}

/// A text that is no endpoint. Retrying does not help: it must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no endpoint: {reason}; write it like 127.0.0.1:5432 or http://host:8080")]
pub struct InvalidEndpoint {
    text: String,
    reason: String,
}

struct ConfigFile {
    endpoints: BTreeMap<ServiceName, ConfiguredEndpoints>,
    scope: Scope,
}

// === impl ConfigFile ===

impl Strategy for ConfigFile {
    fn ask<'a>(&'a self, query: &'a StrategyQuery) -> BoxFuture<'a, StrategyOutcome> {
        let name = &query.name;
        let outcome = match self.endpoints.get(name) {
            Some(ConfiguredEndpoints(endpoints)) if !endpoints.is_empty() => {
                let endpoint = |configured: &ConfiguredEndpoint| {
                    Candidate::from(configured.endpoint(name, &self.scope))
                };
                StrategyOutcome::Found(endpoints.iter().map(endpoint).collect())
            }
            // The configuration lists what it was told of, which says nothing of the rest.
            _ => StrategyOutcome::NotFound {
                reason: format!("no discovery.endpoints.{name}"),
                sure: false,
            },
        };
        future::ready(outcome).boxed()
    }
}

// === impl ConfiguredEndpoint ===

impl ConfiguredEndpoint {
    fn endpoint(&self, name: &ServiceName, scope: &Scope) -> ServiceEndpoint {
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
        let invalid =
            |reason: String| InvalidEndpoint { text: text.chars().take(100).collect(), reason };
        let (protocol, host, port) = match text.contains("://") {
            true => from_url(text).map_err(invalid)?,
            false => from_address(text).map_err(invalid)?,
        };
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
    // Without brackets there is no telling an IPv6 address from its port.
    if host.contains(':') && !host.starts_with('[') {
        return Err("an IPv6 address stands in brackets, as in [::1]:5432".to_owned());
    }
    let host = host.parse().map_err(|error: portolan_core::host::InvalidHost| error.to_string())?;
    let port = portolan_core::port::parse(port).map_err(|error| error.to_string())?;
    Ok((Protocol::default(), host, port))
}

// === impl ConfiguredEndpoints ===

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
        let endpoint = text.parse().map_err(E::custom)?;
        Ok(ConfiguredEndpoints(vec![endpoint]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ConfiguredEndpoints, A::Error> {
        let endpoint = ConfiguredEndpoint::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ConfiguredEndpoints(vec![endpoint.validated().map_err(A::Error::custom)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ConfiguredEndpoints, A::Error> {
        let many = Vec::<ConfiguredEndpoints>::deserialize(SeqAccessDeserializer::new(seq))?;
        let endpoints: Vec<_> = many.into_iter().flat_map(|one| one.0).collect();
        match endpoints.len() > MAX_ENDPOINTS {
            true => Err(A::Error::invalid_length(endpoints.len(), &"at most 1000 endpoints")),
            false => Ok(ConfiguredEndpoints(endpoints)),
        }
    }
}

#[cfg(test)]
mod tests;

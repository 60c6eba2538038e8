//! What one asks the registry for, and how it stands in a URL.

use std::collections::BTreeMap;

use portolan_core::{
    HealthStatus, Protocol, Revision, Scope, ServiceEndpoint, ServiceEvent, ServiceName,
};
use serde::{Deserialize, Serialize};

/// How many names stand in one URL; beyond that everything in the scopes is watched.
const MAX_NAMES: usize = 100;

/// Which instances to list; what is left empty does not narrow the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Instances of this service only.
    pub name: Option<ServiceName>,
    /// Instances in these scopes only.
    pub scopes: Vec<Scope>,
    /// Instances of this health only.
    pub health: Option<HealthStatus>,
    /// Instances that speak this only.
    pub protocol: Option<Protocol>,
    /// Instances of this version only.
    pub version: Option<String>,
    /// Instances with all of these metadata only.
    pub metadata: BTreeMap<String, String>,
}

/// Which changes to watch; what is left empty does not narrow the watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// Changes of these services only.
    pub names: Vec<ServiceName>,
    /// Changes in these scopes only.
    pub scopes: Vec<Scope>,
    /// Changes after this revision; without one the watch begins with a snapshot.
    pub from: Option<Revision>,
}

/// The instances that fit a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// The revision at which this was so; a watch that begins here misses nothing.
    pub revision: Revision,
    /// The instances.
    pub services: Vec<ServiceEndpoint>,
}

// === impl ListQuery ===

impl ListQuery {
    /// Every instance of one service.
    pub fn named(name: ServiceName) -> Self {
        Self { name: Some(name), ..Self::default() }
    }

    pub(super) fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let mut put = |key: &str, value: Option<String>| {
            pairs.extend(value.map(|value| (key.to_owned(), value)));
        };
        put("name", self.name.as_ref().map(ServiceName::to_string));
        put("scope", joined(&self.scopes));
        put("health", self.health.map(|health| health.to_string()));
        put("protocol", self.protocol.as_ref().map(Protocol::to_string));
        put("version", self.version.clone());
        for (key, value) in &self.metadata {
            put(&format!("meta.{key}"), Some(value.clone()));
        }
        pairs
    }
}

// === impl WatchRequest ===

impl WatchRequest {
    /// Whether the change is one that is asked for. A registry that is asked for many names is
    /// asked for all of them, so what it sends is looked through here.
    pub(super) fn wants(&self, event: &mut ServiceEvent) -> bool {
        let key = |endpoint: &ServiceEndpoint| {
            (self.names.is_empty() || self.names.contains(&endpoint.name))
                && (self.scopes.is_empty() || self.scopes.contains(&endpoint.scope))
        };
        if let portolan_core::Change::Snapshot { endpoints } = &mut event.change {
            endpoints.retain(|endpoint| key(endpoint));
        }
        event.change.endpoint().is_none_or(|endpoint| key(endpoint))
    }

    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let names = (self.names.len() <= MAX_NAMES).then(|| joined(&self.names)).flatten();
        [
            ("name", names),
            ("scope", joined(&self.scopes)),
            ("revision", self.from.map(|revision| revision.to_string())),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }
}

fn joined<T: AsRef<str>>(names: &[T]) -> Option<String> {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    (!names.is_empty()).then(|| names.join(","))
}

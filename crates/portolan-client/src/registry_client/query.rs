//! Queries of the registry, and their form in a URL.

use std::collections::BTreeMap;

use portolan_core::{
    DeclaredInstance, HealthStatus, Protocol, Revision, Scope, ServiceEndpoint, ServiceEvent,
    ServiceName, matches_any,
};
use serde::{Deserialize, Serialize};

/// The maximum number of names in one URL; a longer list watches every service of the scopes.
const MAX_NAMES: usize = 100;

/// A filter for instances; an empty field matches every instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// The service.
    pub name: Option<ServiceName>,
    /// The scopes.
    pub scopes: Vec<Scope>,
    /// The health: one of these.
    pub health: Vec<HealthStatus>,
    /// The protocol.
    pub protocol: Option<Protocol>,
    /// The version.
    pub version: Option<String>,
    /// Metadata entries, all of which must match.
    pub metadata: BTreeMap<String, String>,
}

/// A filter for changes; an empty field matches every change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// The services.
    pub names: Vec<ServiceName>,
    /// The scopes.
    pub scopes: Vec<Scope>,
    /// The revision to resume after; without one the watch starts with a snapshot.
    pub from: Option<Revision>,
}

/// The instances that match a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// The revision of the list; a watch that resumes here misses nothing.
    pub revision: Revision,
    /// Whether the registry has just started without its former state: instances may be missing that have not
    /// registered again yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// How long ago the list was last known to be current with the store of the registry, in milliseconds. Always 0 with
    /// the store `memory`.
    #[serde(default)]
    pub view_age_ms: u64,
    /// Whether that is longer than the registry's `max_view_age`, or the registry has not read its state yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Whether the registry serves other hosts without requiring a token: anyone there can change what it answers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open_to_network: bool,
    /// The scope of the registry's stack, if only the stack can change its services. The registry then has every instance in that
    /// scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Scope>,
    /// The instances.
    pub services: Vec<ServiceEndpoint>,
    /// The instances of the registry's stack that are not ready. They have no address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declared: Vec<DeclaredInstance>,
}

// === impl ListQuery ===

impl ListQuery {
    /// Returns the query for every instance of one service.
    pub fn named(name: ServiceName) -> Self {
        Self { name: Some(name), ..Self::default() }
    }

    /// Returns the same query for instances that are not critical.
    pub fn not_critical(self) -> Self {
        let health = [HealthStatus::Passing, HealthStatus::Warning, HealthStatus::Unknown];
        Self { health: health.into(), ..self }
    }

    pub(super) fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let mut put = |key: &str, value: Option<String>| {
            pairs.extend(value.map(|value| (key.to_owned(), value)));
        };
        put("name", self.name.as_ref().map(ServiceName::to_string));
        put("scope", joined(&self.scopes));
        put("health", joined(&self.health.iter().map(HealthStatus::to_string).collect::<Vec<_>>()));
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
    /// Returns whether a change matches, and removes other endpoints from a snapshot. With many
    /// names the registry sends every service, see [`MAX_NAMES`].
    pub(super) fn matches(&self, event: &mut ServiceEvent) -> bool {
        let key = |endpoint: &ServiceEndpoint| {
            matches_any(&self.names, &endpoint.name) && matches_any(&self.scopes, &endpoint.scope)
        };
        if let portolan_core::Change::Snapshot { endpoints, .. } = &mut event.change {
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

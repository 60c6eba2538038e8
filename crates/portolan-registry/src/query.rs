//! The filters of lookups and watches.

use std::collections::BTreeMap;

use portolan_core::{
    HealthStatus, Protocol, Revision, Scope, ServiceEndpoint, ServiceName, matches_any,
};

/// The filter of a lookup. An empty list, or `None`, matches every instance.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    /// The services.
    pub names: Vec<ServiceName>,
    /// The scopes.
    pub scopes: Vec<Scope>,
    /// The statuses.
    pub health: Vec<HealthStatus>,
    /// The protocol.
    pub protocol: Option<Protocol>,
    /// The version, compared as text.
    pub version: Option<String>,
    /// Metadata entries, all of which an instance must have.
    pub metadata: BTreeMap<String, String>,
}

/// The filter of a watch, and the revision at which it starts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WatchQuery {
    /// The services; all if empty.
    pub names: Vec<ServiceName>,
    /// The scopes; all if empty.
    pub scopes: Vec<Scope>,
    /// The last revision already seen. Without it, the watch starts with a snapshot.
    pub from: Option<Revision>,
}

// === impl Query ===

impl Query {
    /// Matches every instance of a service, in every scope.
    pub fn for_service(name: ServiceName) -> Self {
        Self { names: vec![name], ..Self::default() }
    }

    /// Whether the instance matches everything but the name.
    pub(crate) fn matches(&self, endpoint: &ServiceEndpoint) -> bool {
        let has = |(key, value): (&String, &String)| endpoint.metadata.get(key) == Some(value);
        matches_any(&self.scopes, &endpoint.scope)
            && matches_any(&self.health, &endpoint.health)
            && self.protocol.as_ref().is_none_or(|protocol| *protocol == endpoint.protocol)
            && self.version.as_ref().is_none_or(|version| *version == endpoint.version)
            && self.metadata.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::{Host, Registration, Ttl};

    use super::*;

    fn endpoint() -> ServiceEndpoint {
        let mut api = Registration::new("api".parse().unwrap(), Host::loopback(), 8080);
        api.version = "2".into();
        api.metadata = [("zone", "a")].into();
        api.into_endpoint(Ttl::DEFAULT, "2025-11-07T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn empty_query_matches_everything() {
        assert!(Query::default().matches(&endpoint()));
    }

    #[test]
    fn all_conditions_must_match() {
        let zone = |zone: &str| BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
        let tcp = Query { protocol: Some("tcp".parse().unwrap()), ..Query::default() };
        assert!(tcp.matches(&endpoint()));
        let all = Query {
            scopes: vec!["shop".parse().unwrap(), Scope::default()],
            health: vec![HealthStatus::Unknown],
            version: Some("2".into()),
            metadata: zone("a"),
            ..tcp
        };
        assert!(all.matches(&endpoint()));
        for query in [
            Query { scopes: vec!["shop".parse().unwrap()], ..all.clone() },
            Query { health: vec![HealthStatus::Passing], ..all.clone() },
            Query { protocol: Some("udp".parse().unwrap()), ..all.clone() },
            Query { version: Some("1".into()), ..all.clone() },
            Query { metadata: zone("b"), ..all.clone() },
        ] {
            assert!(!query.matches(&endpoint()), "{query:?}");
        }
    }
}

//! What can be asked about.

use std::collections::BTreeMap;

use portolan_core::{HealthStatus, Protocol, Revision, Scope, ServiceEndpoint, ServiceName};

/// Which instances are meant. An empty list, or none, asks for no particular one.
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
    /// The version, to the letter.
    pub version: Option<String>,
    /// Metadata entries that an instance must all have.
    pub metadata: BTreeMap<String, String>,
}

/// What a watch is about, and where it begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WatchQuery {
    /// The services; all where it is empty.
    pub names: Vec<ServiceName>,
    /// The scopes; all where it is empty.
    pub scopes: Vec<Scope>,
    /// The last revision already seen. Without it the watch begins with a snapshot.
    pub from: Option<Revision>,
}

// === impl Query ===

impl Query {
    /// Every instance of one service, in every scope.
    pub fn for_service(name: ServiceName) -> Self {
        Self { names: vec![name], ..Self::default() }
    }

    /// Whether the instance is one of those meant, its name aside.
    pub(crate) fn admits(&self, endpoint: &ServiceEndpoint) -> bool {
        let has = |(key, value)| endpoint.metadata.get(key) == Some(value);
        among(&self.scopes, &endpoint.scope)
            && among(&self.health, &endpoint.health)
            && self.protocol.as_ref().is_none_or(|protocol| *protocol == endpoint.protocol)
            && self.version.as_ref().is_none_or(|version| *version == endpoint.version)
            && self.metadata.iter().all(has)
    }
}

/// Whether the list has it, or does not care.
pub(crate) fn among<T: PartialEq>(list: &[T], value: &T) -> bool {
    list.is_empty() || list.contains(value)
}

#[cfg(test)]
mod tests {
    use portolan_core::{Host, Registration, Ttl};

    use super::*;

    fn endpoint() -> ServiceEndpoint {
        let mut api = Registration::new("api".parse().unwrap(), Host::loopback(), 8080);
        api.version = "2".into();
        api.metadata = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        api.into_endpoint(Ttl::DEFAULT, "2025-11-07T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_query_that_says_nothing_admits_everything() {
        assert!(Query::default().admits(&endpoint()));
    }

    #[test]
    fn every_condition_must_hold() {
        let zone = |zone: &str| BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
        let tcp = Query { protocol: Some("tcp".parse().unwrap()), ..Query::default() };
        assert!(tcp.admits(&endpoint()));
        let all = Query {
            scopes: vec!["shop".parse().unwrap(), Scope::default()],
            health: vec![HealthStatus::Unknown],
            version: Some("2".into()),
            metadata: zone("a"),
            ..tcp
        };
        assert!(all.admits(&endpoint()));
        for query in [
            Query { scopes: vec!["shop".parse().unwrap()], ..all.clone() },
            Query { health: vec![HealthStatus::Passing], ..all.clone() },
            Query { protocol: Some("udp".parse().unwrap()), ..all.clone() },
            Query { version: Some("1".into()), ..all.clone() },
            Query { metadata: zone("b"), ..all.clone() },
        ] {
            assert!(!query.admits(&endpoint()), "{query:?}");
        }
    }
}

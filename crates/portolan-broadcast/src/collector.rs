//! The instances that a query has found so far, as pure functions.

use std::collections::BTreeMap;

use portolan_core::{HealthStatus, Scope, ServiceEndpoint, ServiceId, ServiceName};

use crate::QueryMode;

/// The maximum number of instances of one query; further ones are ignored.
const MAX_INSTANCES: usize = 4096;

/// The instances found, without duplicates.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    name: Option<&'a ServiceName>,
    scopes: &'a [Scope],
    mode: QueryMode,
    found: BTreeMap<ServiceId, ServiceEndpoint>,
}

// === impl Collector ===

impl<'a> Collector<'a> {
    pub(crate) fn new(name: Option<&'a ServiceName>, scopes: &'a [Scope], mode: QueryMode) -> Self {
        Self { name, scopes, mode, found: BTreeMap::new() }
    }

    /// Adds a response if it matches the query. Returns whether the instance is new.
    pub(crate) fn add(&mut self, endpoint: ServiceEndpoint) -> bool {
        let wanted = self.is_wanted(&endpoint) && self.found.len() < MAX_INSTANCES;
        let known = self.found.get(&endpoint.id);
        if !wanted || known.is_some_and(|known| is_ipv4(known) && !is_ipv4(&endpoint)) {
            return false;
        }
        self.found.insert(endpoint.id.clone(), endpoint).is_none()
    }

    /// Adds an instance that was announced before, unless there is a response for it.
    pub(crate) fn add_known(&mut self, endpoint: &ServiceEndpoint) {
        if !self.found.contains_key(&endpoint.id) {
            self.add(endpoint.clone());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Returns whether no further response can be better than the best so far.
    pub(crate) fn has_best(&self) -> bool {
        let best = |e: &ServiceEndpoint| e.health == HealthStatus::Passing && self.rank(e) == 0;
        self.found.values().any(best)
    }

    /// Returns the instances in order of preference: by scope in the order of the query, then by health.
    pub(crate) fn into_sorted(self) -> Vec<ServiceEndpoint> {
        let mut found: Vec<_> = self.found.values().cloned().collect();
        found.sort_by_key(|endpoint| (self.rank(endpoint), endpoint.health));
        found
    }

    /// Returns whether the endpoint matches the query. A response for another service is ignored: the
    /// wrong service is worse than none.
    fn is_wanted(&self, endpoint: &ServiceEndpoint) -> bool {
        self.name.is_none_or(|name| *name == endpoint.name)
            && portolan_core::matches_any(self.scopes, &endpoint.scope)
            && (self.mode == QueryMode::All || endpoint.health != HealthStatus::Critical)
    }

    fn rank(&self, endpoint: &ServiceEndpoint) -> usize {
        self.scopes.iter().position(|scope| *scope == endpoint.scope).unwrap_or_default()
    }
}

/// A host on IPv4 and IPv6 responds with either address; the first of them must not decide.
fn is_ipv4(endpoint: &ServiceEndpoint) -> bool {
    endpoint.host.address().is_some_and(|address| address.is_ipv4())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use portolan_core::{Host, Registration, Ttl};

    use super::*;

    fn endpoint(name: &str, scope: &str, health: HealthStatus) -> ServiceEndpoint {
        let mut registration = Registration::new(name.parse().unwrap(), Host::loopback(), 80);
        registration.scope = scope.parse().unwrap();
        registration.id = format!("{name}-{scope}-{health}").parse().ok();
        let now = Timestamp::now();
        ServiceEndpoint { health, ..registration.into_endpoint(Ttl::DEFAULT, now) }
    }

    #[test]
    fn instances_are_sorted_by_scope_and_then_by_health() {
        use HealthStatus::{Passing, Unknown, Warning};
        let scopes = ["shop".parse().unwrap(), Scope::default()];
        let mut collector = Collector::new(None, &scopes, QueryMode::First);
        assert!(collector.add(endpoint("api", "default", Passing)));
        assert!(collector.add(endpoint("api", "shop", Unknown)));
        assert!(!collector.has_best());
        assert!(collector.add(endpoint("api", "shop", Warning)));
        assert!(!collector.has_best());
        assert!(collector.add(endpoint("api", "shop", Passing)));
        assert!(collector.has_best());
        assert!(!collector.add(endpoint("api", "shop", Passing)));
        let order: Vec<_> = collector.into_sorted().iter().map(|e| e.id.to_string()).collect();
        let expected =
            ["api-shop-passing", "api-shop-warning", "api-shop-unknown", "api-default-passing"];
        assert_eq!(order, expected);
    }

    #[test]
    fn response_that_does_not_match_the_query_is_ignored() {
        use HealthStatus::{Critical, Passing};
        let (name, scopes) = ("api".parse().unwrap(), [Scope::default()]);
        let mut first = Collector::new(Some(&name), &scopes, QueryMode::First);
        assert!(!first.add(endpoint("db", "default", Passing)));
        assert!(!first.add(endpoint("api", "shop", Passing)));
        assert!(!first.add(endpoint("api", "default", Critical)));
        assert!(first.is_empty());
        let mut all = Collector::new(Some(&name), &scopes, QueryMode::All);
        assert!(all.add(endpoint("api", "default", Critical)));
    }

    #[test]
    fn response_outranks_an_earlier_announcement() {
        let mut collector = Collector::new(None, &[], QueryMode::All);
        let mut announced = endpoint("api", "default", HealthStatus::Passing);
        collector.add(announced.clone());
        announced.version = "old".into();
        collector.add_known(&announced);
        assert_eq!(collector.into_sorted()[0].version, "");
    }

    #[test]
    fn host_that_responds_with_both_families_is_found_at_its_ipv4_address() {
        let at = |host: &str| {
            let host = host.parse().unwrap();
            ServiceEndpoint { host, ..endpoint("api", "default", HealthStatus::Passing) }
        };
        let (ipv4, ipv6) = (at("10.0.0.1"), at("fd00::1"));
        for responses in [[ipv4.clone(), ipv6.clone()], [ipv6.clone(), ipv4.clone()]] {
            let mut collector = Collector::new(None, &[], QueryMode::All);
            for response in responses {
                collector.add(response);
            }
            assert_eq!(collector.into_sorted()[0].host, ipv4.host);
        }
        let mut collector = Collector::new(None, &[], QueryMode::All);
        assert!(collector.add(ipv6.clone()));
        assert_eq!(collector.into_sorted(), [ipv6]);
    }
}

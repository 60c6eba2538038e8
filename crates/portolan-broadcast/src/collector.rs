//! What a query has found so far. Pure.

use std::collections::BTreeMap;

use portolan_core::{HealthStatus, Scope, ServiceEndpoint, ServiceId, ServiceName};

use crate::QueryMode;

/// How many instances one query gathers; further ones are left out.
const MAX_GATHERED: usize = 4096;

/// The instances found, each once.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    name: Option<&'a ServiceName>,
    scopes: &'a [Scope],
    enough: QueryMode,
    found: BTreeMap<ServiceId, ServiceEndpoint>,
}

// === impl Collector ===

impl<'a> Collector<'a> {
    pub(crate) fn new(
        name: Option<&'a ServiceName>,
        scopes: &'a [Scope],
        enough: QueryMode,
    ) -> Self {
        Self { name, scopes, enough, found: BTreeMap::new() }
    }

    /// Takes an answer in where it is one. Whether it is an instance not found before.
    pub(crate) fn add(&mut self, endpoint: ServiceEndpoint) -> bool {
        let wanted = self.is_wanted(&endpoint) && self.found.len() < MAX_GATHERED;
        wanted && self.found.insert(endpoint.id.clone(), endpoint).is_none()
    }

    /// Takes in what is known from before; an answer knows better.
    pub(crate) fn add_known(&mut self, endpoint: &ServiceEndpoint) {
        if !self.found.contains_key(&endpoint.id) {
            self.add(endpoint.clone());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether no other instance could be preferred to the best one found.
    pub(crate) fn has_the_best(&self) -> bool {
        let best = |e: &ServiceEndpoint| e.health == HealthStatus::Passing && self.rank(e) == 0;
        self.found.values().any(best)
    }

    /// The instances in order of preference: by scope as asked, then by health.
    pub(crate) fn into_sorted(self) -> Vec<ServiceEndpoint> {
        let mut found: Vec<_> = self.found.values().cloned().collect();
        found.sort_by_key(|endpoint| (self.rank(endpoint), endpoint.health));
        found
    }

    /// Whoever answers something else than was asked is not listened to: the wrong service is
    /// worse than none.
    fn is_wanted(&self, endpoint: &ServiceEndpoint) -> bool {
        self.name.is_none_or(|name| *name == endpoint.name)
            && portolan_core::matches_any(self.scopes, &endpoint.scope)
            && (self.enough == QueryMode::All || endpoint.health != HealthStatus::Critical)
    }

    fn rank(&self, endpoint: &ServiceEndpoint) -> usize {
        self.scopes.iter().position(|scope| *scope == endpoint.scope).unwrap_or_default()
    }
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
    fn the_own_scope_comes_first_and_the_healthier_before_the_others() {
        use HealthStatus::{Passing, Unknown, Warning};
        let scopes = ["shop".parse().unwrap(), Scope::default()];
        let mut collector = Collector::new(None, &scopes, QueryMode::First);
        assert!(collector.add(endpoint("api", "default", Passing)));
        assert!(collector.add(endpoint("api", "shop", Unknown)));
        assert!(!collector.has_the_best());
        assert!(collector.add(endpoint("api", "shop", Warning)));
        assert!(!collector.has_the_best());
        assert!(collector.add(endpoint("api", "shop", Passing)));
        assert!(collector.has_the_best());
        assert!(!collector.add(endpoint("api", "shop", Passing)));
        let order: Vec<_> = collector.into_sorted().iter().map(|e| e.id.to_string()).collect();
        let expected =
            ["api-shop-passing", "api-shop-warning", "api-shop-unknown", "api-default-passing"];
        assert_eq!(order, expected);
    }

    #[test]
    fn an_answer_to_another_question_is_not_taken() {
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
    fn an_answer_knows_better_than_what_was_heard_before() {
        let mut collector = Collector::new(None, &[], QueryMode::All);
        let mut told = endpoint("api", "default", HealthStatus::Passing);
        collector.add(told.clone());
        told.version = "old".into();
        collector.add_known(&told);
        assert_eq!(collector.into_sorted()[0].version, "");
    }
}

//! The endpoints that this process publishes, and which of them answer a query, as pure functions.

use std::collections::BTreeMap;
use std::time::Duration;

use portolan_core::{HealthStatus, ServiceEndpoint, ServiceId, ServiceQuery};

/// The maximum number of published endpoints: a process must be able to answer a query for all of them.
pub(crate) const MAX_LOCAL: usize = 1024;
/// Up to this number of responders, responses are sent at once.
const FEW: usize = 8;
/// The delay per response: several hundred at once would overflow the receive buffer of the querier.
const SPREAD: Duration = Duration::from_millis(1);
/// The shortest span of random delays, as in mDNS (RFC 6762, section 6).
const MIN_SPREAD: Duration = Duration::from_millis(20);
/// The longest span of random delays.
const MAX_SPREAD: Duration = Duration::from_millis(120);

/// The published endpoints by id.
#[derive(Debug, Default)]
pub(crate) struct LocalEndpoints(BTreeMap<ServiceId, ServiceEndpoint>);

// === impl LocalEndpoints ===

impl LocalEndpoints {
    /// Publishes the endpoint, replacing one with the same id. False if there are too many.
    pub(crate) fn publish(&mut self, endpoint: ServiceEndpoint) -> bool {
        let room = self.0.len() < MAX_LOCAL || self.0.contains_key(&endpoint.id);
        if room {
            self.0.insert(endpoint.id.clone(), endpoint);
        }
        room
    }

    /// Stops publishing an endpoint; returns whether it was published.
    pub(crate) fn unpublish(&mut self, id: &ServiceId) -> bool {
        self.0.remove(id).is_some()
    }

    /// Returns the endpoint as it is published now.
    pub(crate) fn get(&self, id: &ServiceId) -> Option<&ServiceEndpoint> {
        self.0.get(id)
    }

    /// Returns the endpoints that answer the query. Loopback endpoints answer only queries from this host.
    pub(crate) fn answers(&self, query: &ServiceQuery, from_this_host: bool) -> Vec<ServiceId> {
        let name_fits =
            |e: &ServiceEndpoint| query.name.as_ref().is_none_or(|name| *name == e.name);
        let fit = |e: &&ServiceEndpoint| {
            name_fits(e)
                && portolan_core::matches_any(&query.scopes, &e.scope)
                && (query.all || e.health != HealthStatus::Critical)
                && (from_this_host || e.hosts().any(|host| !host.is_loopback()))
        };
        self.0.values().filter(fit).map(|endpoint| endpoint.id.clone()).collect()
    }
}

/// Returns the span of random delays for this number of expected responders; `None` if they are few, so
/// that responses are sent at once.
pub(crate) fn spread(query: &ServiceQuery, expected: usize) -> Option<Duration> {
    let many = expected > FEW || query.name.is_none();
    let expected = u32::try_from(expected).unwrap_or(u32::MAX);
    many.then(|| SPREAD.saturating_mul(expected).clamp(MIN_SPREAD, MAX_SPREAD))
}

#[cfg(test)]
mod tests;

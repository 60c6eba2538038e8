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
pub(crate) struct LocalEndpoints(BTreeMap<ServiceId, Published>);

#[derive(Debug)]
struct Published {
    endpoint: ServiceEndpoint,
    /// The size of the largest response.
    size: usize,
}

// === impl LocalEndpoints ===

impl LocalEndpoints {
    /// Publishes the endpoint, whose responses have at most this size, replacing one with the same id. False if there are too
    /// many.
    pub(crate) fn publish(&mut self, endpoint: ServiceEndpoint, size: usize) -> bool {
        let room = self.0.len() < MAX_LOCAL || self.0.contains_key(&endpoint.id);
        if room {
            self.0.insert(endpoint.id.clone(), Published { endpoint, size });
        }
        room
    }

    /// Stops publishing an endpoint; returns whether it was published.
    pub(crate) fn unpublish(&mut self, id: &ServiceId) -> bool {
        self.0.remove(id).is_some()
    }

    /// Returns the endpoint as it is published now.
    pub(crate) fn get(&self, id: &ServiceId) -> Option<&ServiceEndpoint> {
        self.0.get(id).map(|published| &published.endpoint)
    }

    /// Returns the endpoints that answer the query, with a limit those of its page whose responses have so many bytes together.
    /// Loopback endpoints answer only queries from this host.
    pub(crate) fn answers(
        &self,
        query: &ServiceQuery,
        from_this_host: bool,
        limit: Option<usize>,
    ) -> Vec<ServiceId> {
        let name_fits =
            |e: &ServiceEndpoint| query.name.as_ref().is_none_or(|name| *name == e.name);
        let fits = |e: &ServiceEndpoint| {
            name_fits(e)
                && portolan_core::matches_any(&query.scopes, &e.scope)
                && (query.all || e.health != HealthStatus::Critical)
                && (from_this_host || e.hosts().any(|host| !host.is_loopback()))
        };
        let fitting = self.0.values().filter(|published| fits(&published.endpoint));
        let chosen = match limit {
            None => fitting.collect(),
            Some(limit) => page(fitting, query.page, limit),
        };
        chosen.into_iter().map(|published| published.endpoint.id.clone()).collect()
    }
}

/// Returns the part of the endpoints with this number, or after the last part the first one again. A part has as many as the limit
/// permits.
fn page<'a>(
    endpoints: impl Iterator<Item = &'a Published>,
    number: u32,
    limit: usize,
) -> Vec<&'a Published> {
    let mut pages: Vec<Vec<&Published>> = Vec::new();
    let mut left = 0;
    for published in endpoints.filter(|published| published.size <= limit) {
        match pages.last_mut() {
            Some(page) if published.size <= left => page.push(published),
            _ => {
                pages.push(vec![published]);
                left = limit;
            }
        }
        left -= published.size;
    }
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    let index = number.checked_rem(pages.len()).unwrap_or_default();
    pages.into_iter().nth(index).unwrap_or_default()
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

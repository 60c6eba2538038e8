//! The endpoints that this process answers for, and what it answers. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use portolan_core::{HealthStatus, ServiceEndpoint, ServiceId, ServiceQuery};

/// How many endpoints one process may hold: a query for all of them must stay answerable.
pub(crate) const MAX_LOCAL: usize = 1024;
/// Where more than this many instances answer, each waits for a moment of its own.
const FEW: usize = 8;
/// The moment per answer: some hundred at once would overrun the asker's receive buffer.
const SPREAD: Duration = Duration::from_millis(1);
/// The shortest span to spread answers over, as mDNS does it (RFC 6762, section 6).
const MIN_SPREAD: Duration = Duration::from_millis(20);
/// The longest: the asker does not wait for ever.
const MAX_SPREAD: Duration = Duration::from_millis(120);

/// What this process holds, by id.
#[derive(Debug, Default)]
pub(crate) struct LocalEndpoints(BTreeMap<ServiceId, ServiceEndpoint>);

// === impl LocalEndpoints ===

impl LocalEndpoints {
    /// Holds the endpoint in place of any with its id. False where there is no room.
    pub(crate) fn hold(&mut self, endpoint: ServiceEndpoint) -> bool {
        let room = self.0.len() < MAX_LOCAL || self.0.contains_key(&endpoint.id);
        if room {
            self.0.insert(endpoint.id.clone(), endpoint);
        }
        room
    }

    /// Whether it was held.
    pub(crate) fn unpublish(&mut self, id: &ServiceId) -> bool {
        self.0.remove(id).is_some()
    }

    /// The endpoint as it is held now.
    pub(crate) fn get(&self, id: &ServiceId) -> Option<&ServiceEndpoint> {
        self.0.get(id)
    }

    /// The endpoints that answer the query. A loopback address means something only to an asker
    /// on this very machine.
    pub(crate) fn answers(&self, query: &ServiceQuery, from_here: bool) -> Vec<ServiceId> {
        let name_fits =
            |e: &ServiceEndpoint| query.name.as_ref().is_none_or(|name| *name == e.name);
        let fit = |e: &&ServiceEndpoint| {
            name_fits(e)
                && portolan_core::matches_any(&query.scopes, &e.scope)
                && (query.all || e.health != HealthStatus::Critical)
                && (from_here || !e.host.is_loopback())
        };
        self.0.values().filter(fit).map(|endpoint| endpoint.id.clone()).collect()
    }
}

/// How long answers may be put off, where so many instances in all are expected to answer: not at
/// all where there are few, so that the first answer comes at once.
pub(crate) fn spread(query: &ServiceQuery, expected: usize) -> Option<Duration> {
    let many = expected > FEW || query.name.is_none();
    let expected = u32::try_from(expected).unwrap_or(u32::MAX);
    many.then(|| SPREAD.saturating_mul(expected).clamp(MIN_SPREAD, MAX_SPREAD))
}

#[cfg(test)]
mod tests;

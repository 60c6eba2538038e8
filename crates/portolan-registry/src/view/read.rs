//! Reads of watches: the events since a revision, or a snapshot if the history does not have them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portolan_core::{
    Change, Revision, Scope, ServiceEndpoint, ServiceEvent, ServiceName, matches_any,
};

use super::{Phase, Service, State, View, Waiter};

/// The filter of a watch.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// The services, without duplicates; all if empty.
    pub(crate) names: Vec<ServiceName>,
    /// The scopes; all if empty.
    pub(crate) scopes: Vec<Scope>,
}

/// The result of a read.
#[derive(Debug)]
pub(crate) enum ReadResult {
    /// The next events, the oldest first, and the revision to continue from.
    Events(Vec<Arc<ServiceEvent>>, Option<Revision>),
    /// The view is closed, and all events were read.
    Closed,
}

// === impl View ===

impl View {
    /// Registers a waiter, which is woken by every change that the filter matches.
    pub(crate) fn subscribe(&self, filter: &Filter, waiter: &Arc<Waiter>) {
        let mut state = self.state.write();
        self.watches.fetch_add(1, Ordering::Relaxed);
        match filter.names.is_empty() {
            true => state.all_services.add(waiter),
            false => filter.names.iter().for_each(|name| state.service(name).waiters.add(waiter)),
        }
    }

    /// Removes a waiter.
    pub(crate) fn unsubscribe(&self, filter: &Filter, waiter: &Arc<Waiter>) {
        let mut state = self.state.write();
        self.watches.fetch_sub(1, Ordering::Relaxed);
        state.all_services.remove(waiter);
        for name in &filter.names {
            state.service(name).waiters.remove(waiter);
            state.drop_if_idle(name);
        }
    }

    /// Reads at most `limit` events after the revision. A snapshot if there is no revision, or none
    /// that the history still has.
    pub(crate) fn read(
        &self,
        filter: &Filter,
        after: Option<Revision>,
        limit: usize,
    ) -> ReadResult {
        let state = self.state.read();
        let since = after.and_then(|after| state.since(filter, after, limit));
        match (state.phase, since) {
            (Phase::Loading, _) => ReadResult::Events(Vec::new(), after),
            // Events before the end are still delivered.
            (Phase::Closed, Some((events, _))) if events.is_empty() => ReadResult::Closed,
            (Phase::Closed, None) => ReadResult::Closed,
            (_, Some((events, next))) => ReadResult::Events(events, Some(next)),
            (Phase::Open, None) => {
                let snapshot = state.snapshot(filter, self.is_incomplete());
                ReadResult::Events(vec![snapshot], Some(state.revision))
            }
        }
    }
}

// === impl State ===

impl State {
    fn since(
        &self,
        filter: &Filter,
        after: Revision,
        limit: usize,
    ) -> Option<(Vec<Arc<ServiceEvent>>, Revision)> {
        // A future revision is another registry's, or older than a clock that was set back.
        let is_lost = self.gaps.iter().any(|(start, end)| (start < &after) && (&after < end));
        if after > self.revision || is_lost {
            return None;
        }
        let mut events: Vec<_> = match filter.names.is_empty() {
            true => self
                .since_in_all(after)?
                .filter(|event| filter.matches(event))
                .take(limit)
                .cloned()
                .collect(),
            false => self.since_in(filter, after, limit)?,
        };
        events.sort_unstable_by_key(|event| event.revision);
        events.truncate(limit);
        let next = match events.last() {
            Some(last) if events.len() == limit => last.revision,
            _ => self.revision,
        };
        Some((events, next))
    }

    fn since_in_all(&self, after: Revision) -> Option<impl Iterator<Item = &Arc<ServiceEvent>>> {
        let start = self.history.partition_point(|event| event.revision <= after);
        (self.compacted <= after).then(|| self.history.range(start..))
    }

    fn since_in(
        &self,
        filter: &Filter,
        after: Revision,
        limit: usize,
    ) -> Option<Vec<Arc<ServiceEvent>>> {
        let mut events = Vec::new();
        for name in &filter.names {
            let Some(service) = self.services.get(name) else {
                // Its history was dropped, or there was none.
                if self.compacted > after {
                    return None;
                }
                continue;
            };
            let new = service.since(after)?.filter(|event| filter.matches(event));
            events.extend(new.take(limit).cloned());
        }
        Some(events)
    }

    fn snapshot(&self, filter: &Filter, incomplete: bool) -> Arc<ServiceEvent> {
        let all = |service: &Service| -> Vec<Arc<ServiceEndpoint>> {
            let wanted =
                |endpoint: &&Arc<ServiceEndpoint>| matches_any(&filter.scopes, &endpoint.scope);
            service.endpoints().filter(wanted).cloned().collect()
        };
        let endpoints = match filter.names.is_empty() {
            true => self.services.values().flat_map(all).collect(),
            false => {
                let watched = filter.names.iter().filter_map(|name| self.services.get(name));
                watched.flat_map(all).collect()
            }
        };
        let change = Change::Snapshot { endpoints, incomplete };
        Arc::new(ServiceEvent { revision: self.revision, change })
    }
}

// === impl Filter ===

impl Filter {
    fn matches(&self, event: &ServiceEvent) -> bool {
        event.change.endpoint().is_some_and(|endpoint| matches_any(&self.scopes, &endpoint.scope))
    }
}

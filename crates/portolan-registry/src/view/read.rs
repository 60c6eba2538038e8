//! What a watch reads: the events since a revision, or a snapshot where those are not known.

use std::sync::Arc;

use portolan_core::{Change, Revision, Scope, ServiceEndpoint, ServiceEvent, ServiceName};

use super::{Phase, Service, State, View, Waiter};
use crate::query::among;

/// What a watch is about.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// The services, each once; all where it is empty.
    pub(crate) names: Vec<ServiceName>,
    /// The scopes; all where it is empty.
    pub(crate) scopes: Vec<Scope>,
}

/// What there is to read.
#[derive(Debug)]
pub(crate) enum ReadResult {
    /// These, the oldest first, and where to go on. Nothing new where there are none.
    Events(Vec<Arc<ServiceEvent>>, Option<Revision>),
    /// There will be nothing any more.
    Closed,
}

// === impl View ===

impl View {
    /// Has the waiter woken when something changes that the filter is about.
    pub(crate) fn subscribe(&self, filter: &Filter, waiter: &Arc<Waiter>) {
        let mut state = self.0.write();
        match filter.names.is_empty() {
            true => state.everything.add(waiter),
            false => filter.names.iter().for_each(|name| state.service(name).waiters.add(waiter)),
        }
    }

    /// Has it woken no longer.
    pub(crate) fn unsubscribe(&self, filter: &Filter, waiter: &Arc<Waiter>) {
        let mut state = self.0.write();
        state.everything.remove(waiter);
        for name in &filter.names {
            state.service(name).waiters.remove(waiter);
            state.drop_if_idle(name);
        }
    }

    /// What happened after the revision, at most so many events at once. A snapshot where there is
    /// no revision, or none that is still known.
    pub(crate) fn read(
        &self,
        filter: &Filter,
        after: Option<Revision>,
        limit: usize,
    ) -> ReadResult {
        let state = self.0.read();
        let since = after.and_then(|after| state.since(filter, after, limit));
        match (state.phase, since) {
            (Phase::Loading, _) => ReadResult::Events(Vec::new(), after),
            // What happened before the end is still told.
            (Phase::Closed, Some((events, _))) if events.is_empty() => ReadResult::Closed,
            (Phase::Closed, None) => ReadResult::Closed,
            (_, Some((events, next))) => ReadResult::Events(events, Some(next)),
            (Phase::Open, None) => {
                ReadResult::Events(vec![state.snapshot(filter)], Some(state.revision))
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
        // A revision from the future is another registry's, or was given before the clock went back.
        if after > self.revision {
            return None;
        }
        let mut events: Vec<_> = match filter.names.is_empty() {
            true => self
                .since_everywhere(after)?
                .filter(|event| filter.admits(event))
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

    fn since_everywhere(
        &self,
        after: Revision,
    ) -> Option<impl Iterator<Item = &Arc<ServiceEvent>>> {
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
                // Whatever it was is no longer remembered.
                if self.compacted > after {
                    return None;
                }
                continue;
            };
            let new = service.since(after)?.filter(|event| filter.admits(event));
            events.extend(new.take(limit).cloned());
        }
        Some(events)
    }

    fn snapshot(&self, filter: &Filter) -> Arc<ServiceEvent> {
        let all = |service: &Service| -> Vec<Arc<ServiceEndpoint>> {
            let wanted = |endpoint: &&Arc<ServiceEndpoint>| among(&filter.scopes, &endpoint.scope);
            service.endpoints().filter(wanted).cloned().collect()
        };
        let endpoints = match filter.names.is_empty() {
            true => self.services.values().flat_map(all).collect(),
            false => {
                let watched = filter.names.iter().filter_map(|name| self.services.get(name));
                watched.flat_map(all).collect()
            }
        };
        Arc::new(ServiceEvent { revision: self.revision, change: Change::Snapshot { endpoints } })
    }
}

// === impl Filter ===

impl Filter {
    fn admits(&self, event: &ServiceEvent) -> bool {
        event.change.endpoint().is_some_and(|endpoint| among(&self.scopes, &endpoint.scope))
    }
}

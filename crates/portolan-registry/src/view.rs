//! The view: an index in memory of the current state and the recent history, which serves reads.
//!
//! Built from the feed of the store alone. Readers share a lock that the feed holds only while
//! it applies an update, so that a lookup and its revision are consistent. Reads never wait for the
//! queue, the store or a timer.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use portolan_core::{Revision, ServiceEndpoint, ServiceEvent, ServiceId, ServiceName, matches_any};
use portolan_metrics::LookupCounter;
use tokio::time::Instant;

use crate::query::Query;
use crate::store::decide::is_critical;
use crate::store::{Committed, History};

mod answers;
mod read;
mod service;
mod waiters;

use answers::Budget;
pub use answers::{Lookup, PreparedAnswer, Stamp};
pub(crate) use read::{Filter, ReadResult};
use service::Service;
pub(crate) use waiters::Waiter;
use waiters::Waiters;

/// The state that readers share.
#[derive(Debug)]
pub(crate) struct View {
    state: RwLock<State>,
    /// From when on every service had time to register.
    complete_at: Instant,
    /// The memory of kept answers.
    budget: Budget,
    /// The number of watches.
    watches: AtomicUsize,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    revision: Revision,
    endpoints: HashMap<ServiceId, Arc<ServiceEndpoint>>,
    /// Each service that has instances, history or watches.
    services: BTreeMap<ServiceName, Service>,
    history: VecDeque<Arc<ServiceEvent>>,
    capacity: usize,
    /// The newest revision that was dropped from the history.
    compacted: Revision,
    /// Ranges of revisions, without their ends, from which no watch can resume.
    gaps: Vec<(Revision, Revision)>,
    /// The watches of all services.
    all_services: Waiters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The store has not delivered its state yet.
    Loading,
    Open,
    /// The feed has ended.
    Closed,
}

/// A service and its number of critical instances.
pub(crate) type Unhealthy = (ServiceName, usize);

// === impl View ===

impl View {
    /// Creates an empty view with a history of `capacity` changes, which may lack instances until
    /// `complete_at`.
    pub(crate) fn new(capacity: usize, complete_at: Instant) -> Self {
        let state = RwLock::new(State {
            phase: Phase::Loading,
            revision: Revision::default(),
            endpoints: HashMap::new(),
            services: BTreeMap::new(),
            history: VecDeque::new(),
            capacity,
            compacted: Revision::default(),
            gaps: Vec::new(),
            all_services: Waiters::default(),
        });
        Self { state, complete_at, budget: Budget::default(), watches: AtomicUsize::new(0) }
    }

    // --- writes, by the feed

    /// Applies what the store has committed. Returns the services whose number of critical instances changed. The watches are
    /// to be [woken](Self::wake) then.
    pub(crate) fn apply(&self, committed: &[Committed]) -> Vec<Unhealthy> {
        let mut unhealthy = Vec::new();
        let mut state = self.state.write();
        committed.iter().for_each(|committed| state.apply(committed, &mut unhealthy));
        unhealthy
    }

    /// Whether there are watches to be woken. One that begins later reads what was applied.
    pub(crate) fn has_watches(&self) -> bool {
        self.watches.load(Ordering::Relaxed) > 0
    }

    /// Wakes the watches that what was applied concerns. Under a shared lock, so that they can read.
    pub(crate) fn wake(&self, committed: &[Committed]) {
        let state = self.state.read();
        committed.iter().for_each(|committed| state.wake(committed));
    }

    /// Ends every watch.
    pub(crate) fn close(&self) {
        self.state.write().phase = Phase::Closed;
        self.state.read().wake_all();
    }

    // --- reads

    /// From when on the state is complete.
    pub(crate) fn complete_at(&self) -> Instant {
        self.complete_at
    }

    /// Returns whether instances may be missing that have not registered again since the start.
    pub(crate) fn is_incomplete(&self) -> bool {
        Instant::now() < self.complete_at
    }

    /// Returns the revision of the last change.
    pub(crate) fn revision(&self) -> Revision {
        self.state.read().revision
    }

    /// Returns an instance.
    pub(crate) fn get(&self, id: &ServiceId) -> Option<Arc<ServiceEndpoint>> {
        self.state.read().endpoints.get(id).cloned()
    }

    pub(crate) fn count(&self) -> usize {
        self.state.read().endpoints.len()
    }

    /// Returns the matching instances, ordered by name and id, and the revision at which the
    /// requested services changed last.
    pub(crate) fn find(&self, query: &Query) -> (Vec<Arc<ServiceEndpoint>>, Revision) {
        let state = self.state.read();
        let matching = |service: &Service| -> Vec<_> {
            service.endpoints().filter(|endpoint| query.matches(endpoint)).cloned().collect()
        };
        if query.names.is_empty() {
            return (state.services.values().flat_map(matching).collect(), state.revision);
        }
        let names: BTreeSet<_> = query.names.iter().collect();
        let services = names.iter().filter_map(|name| state.services.get(*name));
        let latest = names.iter().map(|name| state.latest(name)).max();
        (services.flat_map(matching).collect(), latest.unwrap_or(state.revision))
    }

    // --- answers that are kept

    /// The state of a service at this moment; `None` if there is none.
    pub(crate) fn stamp(&self, name: &ServiceName) -> Option<Stamp> {
        self.state.read().services.get(name).map(Service::stamp)
    }

    /// Returns the answer that was kept for a lookup of the service, and what counts it.
    pub(crate) fn prepared(
        &self,
        name: &str,
        lookup: Lookup<'_>,
    ) -> Option<(PreparedAnswer, Arc<LookupCounter>)> {
        self.state.read().services.get(name)?.answers().get(lookup)
    }

    /// Keeps the answer to a lookup, unless the service has changed since the stamp was taken.
    pub(crate) fn keep(
        &self,
        name: &ServiceName,
        stamp: Stamp,
        lookup: Lookup<'_>,
        answer: PreparedAnswer,
        counter: LookupCounter,
    ) {
        let state = self.state.read();
        let service = state.services.get(name).filter(|service| service.stamp() == stamp);
        if let Some(service) = service {
            service.answers().keep(lookup, answer, counter, &self.budget);
        }
    }
}

// === impl State ===

impl State {
    fn apply(&mut self, committed: &Committed, unhealthy: &mut Vec<Unhealthy>) {
        match committed {
            Committed::Reset { endpoints, revision, history } => {
                unhealthy.extend(self.reset(endpoints, *revision, history.as_ref()));
            }
            Committed::Renewed(endpoint) => self.put(endpoint),
            Committed::Changed(event) => unhealthy.extend(self.change(event)),
        }
    }

    fn change(&mut self, event: &Arc<ServiceEvent>) -> Option<Unhealthy> {
        let endpoint = event.change.endpoint()?;
        let before = self.critical(&endpoint.name);
        if event.change.is_removal() {
            self.remove(endpoint);
        } else {
            self.put(endpoint);
        }
        self.revision = event.revision;
        self.record(event, &endpoint.name);
        let now = self.critical(&endpoint.name);
        (before != now).then(|| (endpoint.name.clone(), now))
    }

    fn reset(
        &mut self,
        endpoints: &[Arc<ServiceEndpoint>],
        revision: Revision,
        history: Option<&History>,
    ) -> impl Iterator<Item = Unhealthy> {
        let unhealthy = self.services.iter().filter(|(_, service)| service.critical() > 0);
        let before: Vec<_> = unhealthy.map(|(name, _)| name.clone()).collect();
        self.phase = Phase::Open;
        self.revision = revision;
        let compacted = history.map_or(revision, |history| history.since);
        self.compacted = compacted;
        self.gaps = history.map(|history| history.gaps.clone()).unwrap_or_default();
        self.history.clear();
        self.endpoints.clear();
        self.services.values_mut().for_each(|service| service.reset(compacted));
        self.put_all(endpoints);
        for event in history.into_iter().flat_map(|history| &history.events) {
            let Some(endpoint) = event.change.endpoint() else { continue };
            self.record(event, &endpoint.name);
        }
        self.services.retain(|_, service| !service.is_idle());
        let unhealthy = endpoints.iter().filter(|endpoint| is_critical(endpoint));
        let names: BTreeSet<_> =
            unhealthy.map(|endpoint| endpoint.name.clone()).chain(before).collect();
        names.into_iter().map(|name| {
            let critical = self.critical(&name);
            (name, critical)
        })
    }

    fn put(&mut self, endpoint: &Arc<ServiceEndpoint>) {
        self.endpoints.insert(endpoint.id.clone(), Arc::clone(endpoint));
        self.service(&endpoint.name).put(endpoint);
    }

    /// Puts very many at once.
    fn put_all(&mut self, endpoints: &[Arc<ServiceEndpoint>]) {
        self.endpoints.reserve(endpoints.len());
        let mut of_service: HashMap<&ServiceName, Vec<&Arc<ServiceEndpoint>>> = HashMap::new();
        for endpoint in endpoints {
            self.endpoints.insert(endpoint.id.clone(), Arc::clone(endpoint));
            of_service.entry(&endpoint.name).or_default().push(endpoint);
        }
        for (name, endpoints) in of_service {
            let service = self.service(name);
            endpoints.into_iter().for_each(|endpoint| service.put(endpoint));
        }
    }

    fn remove(&mut self, endpoint: &ServiceEndpoint) {
        self.endpoints.remove(&endpoint.id);
        self.service(&endpoint.name).remove(&endpoint.id);
    }

    /// Appends the event to the history and drops the oldest events beyond its capacity.
    fn record(&mut self, event: &Arc<ServiceEvent>, name: &ServiceName) {
        self.service(name).record(event);
        self.history.push_back(Arc::clone(event));
        while self.history.len() > self.capacity {
            let Some(oldest) = self.history.pop_front() else { break };
            self.compacted = oldest.revision;
            let Some(endpoint) = oldest.change.endpoint() else { continue };
            self.service(&endpoint.name).drop_until(oldest.revision);
            self.drop_if_idle(&endpoint.name);
        }
    }

    /// Returns the service, which is inserted if it is missing.
    fn service(&mut self, name: &ServiceName) -> &mut Service {
        if !self.services.contains_key(name) {
            self.services.insert(name.clone(), Service::new(self.compacted));
        }
        self.services.get_mut(name).expect("inserted above")
    }

    fn drop_if_idle(&mut self, name: &ServiceName) {
        if self.services.get(name).is_some_and(Service::is_idle) {
            self.services.remove(name);
        }
    }

    fn critical(&self, name: &ServiceName) -> usize {
        self.services.get(name).map_or(0, Service::critical)
    }

    /// The revision at which the service changed last, or the oldest known one.
    fn latest(&self, name: &ServiceName) -> Revision {
        self.services.get(name).map_or(self.compacted, Service::latest)
    }

    fn wake(&self, committed: &Committed) {
        match committed {
            Committed::Reset { .. } => self.wake_all(),
            Committed::Renewed(_) => {}
            Committed::Changed(event) => self.wake_for(event),
        }
    }

    fn wake_for(&self, event: &ServiceEvent) {
        let Some(endpoint) = event.change.endpoint() else { return };
        let wants = |waiter: &Waiter| matches_any(waiter.scopes(), &endpoint.scope);
        self.all_services.wake_if(wants);
        if let Some(service) = self.services.get(&endpoint.name) {
            service.waiters.wake_if(wants);
        }
    }

    fn wake_all(&self) {
        self.all_services.wake_if(|_| true);
        self.services.values().for_each(|service| service.waiters.wake_if(|_| true));
    }
}

#[cfg(test)]
mod tests;

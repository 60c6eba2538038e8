//! What there is now and what happened lately, for all who read.
//!
//! Made of what the store has committed, and of nothing else. Readers take a lock that the writer
//! holds only while it enters what is already decided, so that a lookup and the revision it is
//! true at belong together; nobody waits here for the writer's queue, for a store or for a timer.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::RwLock;
use portolan_core::{Revision, ServiceEndpoint, ServiceEvent, ServiceId, ServiceName};

use crate::query::{Query, among};
use crate::store::Committed;
use crate::store::decide::is_critical;

mod read;
mod service;
mod waiters;

pub(crate) use read::{Filter, ReadResult};
use service::Service;
pub(crate) use waiters::Waiter;
use waiters::Waiters;

/// The state that readers share.
#[derive(Debug)]
pub(crate) struct View(RwLock<State>);

#[derive(Debug)]
struct State {
    phase: Phase,
    revision: Revision,
    endpoints: HashMap<ServiceId, Arc<ServiceEndpoint>>,
    /// Each service that has instances, history or watchers.
    services: BTreeMap<ServiceName, Service>,
    history: VecDeque<Arc<ServiceEvent>>,
    capacity: usize,
    /// The newest revision that is no longer in the history.
    compacted: Revision,
    /// Those who watch every service.
    everything: Waiters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The store has not said yet what there is.
    Loading,
    Open,
    /// There is no writer any more.
    Closed,
}

/// How many instances of a service are critical now.
pub(crate) type Unhealthy = (ServiceName, usize);

// === impl View ===

impl View {
    /// A view of nothing, which keeps this many changes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(RwLock::new(State {
            phase: Phase::Loading,
            revision: Revision::default(),
            endpoints: HashMap::new(),
            services: BTreeMap::new(),
            history: VecDeque::new(),
            capacity,
            compacted: Revision::default(),
            everything: Waiters::default(),
        }))
    }

    // --- the writer's side

    /// Enters what the store has committed, wakes those whom it concerns, and says where the
    /// number of critical instances changed.
    pub(crate) fn apply(&self, committed: &[Committed]) -> Vec<Unhealthy> {
        let mut unhealthy = Vec::new();
        let mut state = self.0.write();
        committed.iter().for_each(|committed| state.apply(committed, &mut unhealthy));
        drop(state);
        // Under a lock that lets the woken in.
        let state = self.0.read();
        committed.iter().for_each(|committed| state.wake(committed));
        unhealthy
    }

    /// Ends every watch: nothing will change here any more.
    pub(crate) fn close(&self) {
        self.0.write().phase = Phase::Closed;
        self.0.read().wake_all();
    }

    // --- the readers' side

    /// One instance.
    pub(crate) fn get(&self, id: &ServiceId) -> Option<Arc<ServiceEndpoint>> {
        self.0.read().endpoints.get(id).cloned()
    }

    /// The instances that are meant, by name and id, and the revision at which the services that
    /// were asked about changed last.
    pub(crate) fn find(&self, query: &Query) -> (Vec<Arc<ServiceEndpoint>>, Revision) {
        let state = self.0.read();
        let admitted = |service: &Service| -> Vec<_> {
            service.endpoints().filter(|endpoint| query.admits(endpoint)).cloned().collect()
        };
        if query.names.is_empty() {
            return (state.services.values().flat_map(admitted).collect(), state.revision);
        }
        let names: BTreeSet<_> = query.names.iter().collect();
        let services = names.iter().filter_map(|name| state.services.get(*name));
        let latest = names.iter().map(|name| state.latest(name)).max();
        (services.flat_map(admitted).collect(), latest.unwrap_or(state.revision))
    }
}

// === impl State ===

impl State {
    fn apply(&mut self, committed: &Committed, unhealthy: &mut Vec<Unhealthy>) {
        match committed {
            Committed::Reset { endpoints, revision } => {
                unhealthy.extend(self.reset(endpoints, *revision));
            }
            Committed::Renewed(endpoint) => self.put(endpoint),
            Committed::Changed(event) => unhealthy.extend(self.change(event)),
        }
    }

    fn change(&mut self, event: &Arc<ServiceEvent>) -> Option<Unhealthy> {
        let endpoint = event.change.endpoint()?;
        let before = self.critical(&endpoint.name);
        match event.change.is_removal() {
            true => self.remove(endpoint),
            false => self.put(endpoint),
        }
        self.revision = event.revision;
        self.remember(event, &endpoint.name);
        let now = self.critical(&endpoint.name);
        (before != now).then(|| (endpoint.name.clone(), now))
    }

    fn reset(
        &mut self,
        endpoints: &[Arc<ServiceEndpoint>],
        revision: Revision,
    ) -> impl Iterator<Item = Unhealthy> {
        let unwell = self.services.iter().filter(|(_, service)| service.critical() > 0);
        let before: Vec<_> = unwell.map(|(name, _)| name.clone()).collect();
        self.phase = Phase::Open;
        self.revision = revision;
        self.compacted = revision;
        self.history.clear();
        self.endpoints.clear();
        self.services.values_mut().for_each(|service| service.reset(revision));
        endpoints.iter().for_each(|endpoint| self.put(endpoint));
        self.services.retain(|_, service| !service.is_idle());
        let unwell = endpoints.iter().filter(|endpoint| is_critical(endpoint));
        let names: BTreeSet<_> =
            unwell.map(|endpoint| endpoint.name.clone()).chain(before).collect();
        names.into_iter().map(|name| {
            let critical = self.critical(&name);
            (name, critical)
        })
    }

    fn put(&mut self, endpoint: &Arc<ServiceEndpoint>) {
        self.endpoints.insert(endpoint.id.clone(), Arc::clone(endpoint));
        self.service(&endpoint.name).put(endpoint);
    }

    fn remove(&mut self, endpoint: &ServiceEndpoint) {
        self.endpoints.remove(&endpoint.id);
        self.service(&endpoint.name).remove(&endpoint.id);
    }

    /// Adds the event to the history, and lets go of the oldest where that has grown too long.
    fn remember(&mut self, event: &Arc<ServiceEvent>, name: &ServiceName) {
        self.service(name).remember(event);
        self.history.push_back(Arc::clone(event));
        while self.history.len() > self.capacity {
            let Some(oldest) = self.history.pop_front() else { break };
            self.compacted = oldest.revision;
            let Some(endpoint) = oldest.change.endpoint() else { continue };
            self.service(&endpoint.name).forget(oldest.revision);
            self.drop_if_idle(&endpoint.name);
        }
    }

    /// The service, made where there is none.
    fn service(&mut self, name: &ServiceName) -> &mut Service {
        if !self.services.contains_key(name) {
            self.services.insert(name.clone(), Service::new(self.compacted));
        }
        self.services.get_mut(name).expect("it was put there just now")
    }

    fn drop_if_idle(&mut self, name: &ServiceName) {
        if self.services.get(name).is_some_and(Service::is_idle) {
            self.services.remove(name);
        }
    }

    fn critical(&self, name: &ServiceName) -> usize {
        self.services.get(name).map_or(0, Service::critical)
    }

    /// The revision at which the service changed last, as far as that is known.
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
        let wants = |waiter: &Waiter| among(waiter.scopes(), &endpoint.scope);
        self.everything.wake_if(wants);
        if let Some(service) = self.services.get(&endpoint.name) {
            service.waiters.wake_if(wants);
        }
    }

    fn wake_all(&self) {
        self.everything.wake_if(|_| true);
        self.services.values().for_each(|service| service.waiters.wake_if(|_| true));
    }
}

#[cfg(test)]
mod tests;

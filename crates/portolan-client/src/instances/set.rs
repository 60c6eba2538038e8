//! The known instances of one service, and which of them are usable.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use portolan_core::{ServiceEndpoint, ServiceId, ServiceName};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cached_resolver::CachedResolver;
use crate::error::DiscoverError;
use crate::locality::Locality;
use crate::select::Suspects;
use crate::selection::{Cursor, LoadBalancingPolicy};
use crate::strategy::Candidate;

use super::instance::Instance;

/// Usable instances, ordered by id.
pub(crate) type Usable = Arc<[Arc<ServiceEndpoint>]>;

/// The known instances of one service.
pub(crate) struct InstanceSet {
    name: ServiceName,
    resolver: CachedResolver,
    suspects: Arc<Suspects>,
    policy: LoadBalancingPolicy,
    locality: Locality,
    cursor: Cursor,
    known: RwLock<Arc<[Arc<Instance>]>>,
    usable: watch::Sender<Usable>,
    /// Why the last lookup found nothing.
    last_error: Mutex<Option<DiscoverError>>,
}

// === impl InstanceSet ===

impl InstanceSet {
    pub(super) fn new(
        name: ServiceName,
        resolver: CachedResolver,
        policy: LoadBalancingPolicy,
        locality: Locality,
    ) -> Self {
        let suspects = Arc::clone(resolver.suspects());
        let usable = watch::Sender::new(Usable::from([]));
        let (known, cursor) = (RwLock::new(Arc::from([])), Cursor::default());
        let last_error = Mutex::default();
        Self { name, resolver, suspects, policy, locality, cursor, known, usable, last_error }
    }

    pub(super) fn name(&self) -> &ServiceName {
        &self.name
    }

    /// Replaces the known instances.
    pub(super) fn replace(&self, candidates: &[Candidate]) {
        let before = Arc::clone(&self.known.read());
        let known = |candidate: &Candidate| {
            before.iter().find(|known| known.endpoint.id == candidate.endpoint.id).map(|arc| &**arc)
        };
        let instance = |candidate: &Candidate| Arc::new(Instance::new(candidate, known(candidate)));
        let mut now: Vec<Arc<Instance>> = candidates.iter().map(instance).collect();
        now.sort_by(|a, b| a.endpoint.id.cmp(&b.endpoint.id));
        *self.known.write() = now.into();
        self.refresh_usable();
    }

    /// Records why there is no instance.
    pub(super) fn set_error(&self, error: Option<DiscoverError>) {
        *self.last_error.lock() = error;
    }

    /// Leaves an instance out for a while. The next selection and those who wait for changes see it at once.
    pub(super) fn report_failure(&self, endpoint: &ServiceEndpoint) {
        self.resolver.report_failure(endpoint);
        self.refresh_usable();
    }

    /// Derives the usable instances again, after a change of the instances or the suspects, and tells those who wait.
    pub(super) fn refresh_usable(&self) {
        let now: Usable =
            self.best(&[]).iter().map(|instance| Arc::clone(&instance.endpoint)).collect();
        self.usable.send_if_modified(|usable| {
            let changed = **usable != *now;
            *usable = now;
            changed
        });
    }

    pub(super) fn usable(&self) -> Usable {
        self.best(&[]).iter().map(|instance| Arc::clone(&instance.endpoint)).collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<ServiceEndpoint>> {
        let mut known = self.known.read().to_vec();
        known.sort_by_key(|instance| instance.tier(&self.suspects));
        known.iter().map(|instance| Arc::clone(&instance.endpoint)).collect()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Usable> {
        self.usable.subscribe()
    }

    /// Returns the number of known instances, and how many of them are suspect.
    pub(super) fn count_suspects(&self) -> (usize, usize) {
        let known = self.known.read();
        let is_suspect = |one: &&Arc<Instance>| self.suspects.contains(&one.endpoint.id);
        (known.len(), known.iter().filter(is_suspect).count())
    }

    /// Selects one of the nearest of the best instances, without these.
    pub(super) fn select(&self, without: &[ServiceId]) -> Option<Arc<Instance>> {
        let mut best = self.best(without);
        let nearest = best.iter().map(|instance| instance.distance(&self.locality)).min()?;
        best.retain(|instance| instance.distance(&self.locality) == nearest);
        let instances: Vec<&Instance> = best.iter().map(|instance| &**instance).collect();
        let at = self.policy.select(&instances, &self.cursor)?;
        Some(best.swap_remove(at))
    }

    /// Waits until the condition holds for the usable instances.
    pub(super) async fn wait_for(
        &self,
        limit: Duration,
        is_met: impl Fn(&[Arc<ServiceEndpoint>]) -> bool,
    ) -> Result<(), DiscoverError> {
        let mut changes = self.subscribe();
        let met = async { changes.wait_for(|usable| is_met(usable)).await.map(drop) };
        match timeout(limit, met).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(DiscoverError::Closed),
            Err(_) => Err(self.why_not(limit)),
        }
    }

    fn why_not(&self, limit: Duration) -> DiscoverError {
        if let Some(found) = self.usable().first() {
            return DiscoverError::endpoint_not_ready(found, limit);
        }
        let last = self.last_error.lock().clone();
        let name = self.name.clone();
        last.unwrap_or(DiscoverError::TimedOut { name, limit, attempts: Vec::new() })
    }

    /// Returns the instances of the best tier, without these.
    fn best(&self, without: &[ServiceId]) -> Vec<Arc<Instance>> {
        let known = Arc::clone(&self.known.read());
        let left = || known.iter().filter(|known| !without.contains(&known.endpoint.id));
        let Some(best) = left().map(|instance| instance.tier(&self.suspects)).min() else {
            return Vec::new();
        };
        left().filter(|instance| instance.tier(&self.suspects) == best).cloned().collect()
    }
}

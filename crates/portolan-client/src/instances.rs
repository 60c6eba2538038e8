//! A live set of the instances of one service, and the selection among them.
//!
//! A task of the client keeps the set current: by the registry's watch and the broadcast channel, and by lookups for what
//! neither reports. Knows nothing of the protocol in which the instances are called.

mod follow;
mod instance;
mod load;
mod picked;
mod set;

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::name::InvalidName;
use portolan_core::{ServiceEndpoint, ServiceId, ServiceName};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cached_resolver::CachedResolver;
use crate::error::DiscoverError;
use crate::feeds::Feeds;
use crate::lifecycle::Lifecycle;
use crate::locality::Locality;
use crate::selection::LoadBalancingPolicy;

pub(crate) use instance::Instance;
pub use picked::PickedInstance;

use follow::Follower;
use set::InstanceSet;

/// Opens a [`ServiceInstances`]; `await` it.
#[must_use = "nothing is looked up unless it is awaited"]
pub struct OpenInstances {
    name: Result<ServiceName, InvalidName>,
    resolver: CachedResolver,
    feeds: Feeds,
    lifecycle: Lifecycle,
    /// Keeps the client alive.
    guard: Arc<DropGuard>,
    policy: LoadBalancingPolicy,
    locality: Locality,
}

/// The usable instances of one service, kept current. Clones share everything; the last one that is dropped ends the task.
///
/// An instance is usable if there is no better one. The order is: ready, not checked yet, critical, not reachable for a caller
/// recently, about to stop.
#[derive(Clone)]
pub struct ServiceInstances(Arc<Shared>);

struct Shared {
    set: Arc<InstanceSet>,
    lifecycle: Lifecycle,
    /// Keeps the client alive.
    _client: Arc<DropGuard>,
    /// Ends the task.
    _task: DropGuard,
}

// === impl OpenInstances ===

impl OpenInstances {
    pub(crate) fn new(
        name: Result<ServiceName, InvalidName>,
        resolver: CachedResolver,
        feeds: Feeds,
        lifecycle: Lifecycle,
        guard: Arc<DropGuard>,
    ) -> Self {
        let (policy, locality) = (LoadBalancingPolicy::default(), resolver.locality().clone());
        Self { name, resolver, feeds, lifecycle, guard, policy, locality }
    }

    /// Sets how an instance is selected. Default [`LoadBalancingPolicy::PeakEwma`].
    pub fn policy(mut self, policy: LoadBalancingPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Selects instances on this host before all others, as long as they are as usable. Default: as the
    /// setting [`prefer_same_host`](crate::DiscoveryConfig::prefer_same_host).
    pub fn prefer_same_host(mut self, prefer: bool) -> Self {
        self.locality.same_host = prefer;
        self
    }

    /// Selects instances whose metadata entry `zone` is this one before all others, as long as they are as usable.
    /// Default: the setting [`zone`](crate::DiscoveryConfig::zone).
    pub fn prefer_zone(mut self, zone: impl Into<String>) -> Self {
        self.locality.zone = Some(zone.into());
        self
    }

    async fn open(self) -> Result<ServiceInstances, DiscoverError> {
        let Self { name, resolver, feeds, lifecycle, guard, policy, locality } = self;
        resolver.check_open()?;
        let set = InstanceSet::new(name?, resolver.clone(), policy, locality);
        let set = Arc::new(set);
        let mut follower = Follower::new(Arc::clone(&set), resolver, feeds);
        match follower.look_up().await {
            Err(error) if error.is_permanent() => return Err(error),
            // An empty set is no error: the service may start later.
            Ok(()) | Err(_) => {}
        }
        let ended = CancellationToken::new();
        let task = ended.clone().drop_guard();
        lifecycle.spawn(async move { ended.run_until_cancelled(follower.run()).await });
        let shared = Shared { set, lifecycle, _client: guard, _task: task };
        Ok(ServiceInstances(Arc::new(shared)))
    }
}

impl IntoFuture for OpenInstances {
    type Output = Result<ServiceInstances, DiscoverError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.open().boxed()
    }
}

impl fmt::Debug for OpenInstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, policy, locality, .. } = self;
        f.debug_struct("OpenInstances")
            .field("name", name)
            .field("policy", policy)
            .field("locality", locality)
            .finish_non_exhaustive()
    }
}

// === impl ServiceInstances ===

impl ServiceInstances {
    /// Returns the name of the service.
    pub fn name(&self) -> &ServiceName {
        self.0.set.name()
    }

    /// Returns the usable instances, ordered by id. Empty if the service has no instance.
    pub fn current(&self) -> Arc<[Arc<ServiceEndpoint>]> {
        self.0.set.usable()
    }

    /// Returns every known instance, the most usable ones first, for callers that need one of a certain kind, such as the
    /// primary of a database.
    pub fn all(&self) -> Vec<Arc<ServiceEndpoint>> {
        self.0.set.all()
    }

    /// Returns the usable instances and each later state of them. The receiver fails once the set is dropped.
    pub fn changes(&self) -> watch::Receiver<Arc<[Arc<ServiceEndpoint>]>> {
        self.0.set.subscribe()
    }

    /// Waits until an instance is ready: passing, in warning, or not checked at all. Otherwise the error says what the last
    /// lookup found.
    pub async fn wait(&self, timeout: Duration) -> Result<(), DiscoverError> {
        let is_ready = |usable: &[Arc<ServiceEndpoint>]| usable.iter().any(|one| one.is_ready());
        self.wait_for(timeout, is_ready).await
    }

    /// Selects an instance for one request by the policy; `None` if there is none.
    pub fn pick(&self) -> Option<PickedInstance> {
        self.pick_except(&[])
    }

    /// Selects an instance other than these, to which the same request was sent before; `None` if there is none.
    pub fn pick_except(&self, tried: &[ServiceId]) -> Option<PickedInstance> {
        let instance = self.0.set.select(tried)?;
        Some(PickedInstance::new(instance, Arc::clone(&self.0.set)))
    }

    /// Selects an instance for one request, and waits for one if there is none.
    pub async fn pick_within(&self, timeout: Duration) -> Result<PickedInstance, DiscoverError> {
        loop {
            if let Some(picked) = self.pick() {
                return Ok(picked);
            }
            self.wait_for(timeout, |usable| !usable.is_empty()).await?;
        }
    }

    async fn wait_for(
        &self,
        timeout: Duration,
        is_met: impl Fn(&[Arc<ServiceEndpoint>]) -> bool,
    ) -> Result<(), DiscoverError> {
        self.0.lifecycle.run(self.0.set.wait_for(timeout, is_met)).await?
    }

    /// Reports that connecting to an instance failed, as [`DiscoveryClient::report_failure`](crate::DiscoveryClient::report_failure).
    pub fn report_failure(&self, endpoint: &ServiceEndpoint) {
        self.0.set.report_failure(endpoint);
    }
}

impl fmt::Debug for ServiceInstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.current().iter().map(|one| one.address()).collect();
        f.debug_struct("ServiceInstances")
            .field("name", self.name())
            .field("usable", &addresses)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

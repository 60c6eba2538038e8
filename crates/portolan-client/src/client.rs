//! The discovery client: the handle that a program holds.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use portolan_core::{ServiceEndpoint, ServiceName};
use tokio_util::sync::DropGuard;

use crate::cached_resolver::CachedResolver;
use crate::discover::{Discover, DiscoverAll, Lookup};
use crate::error::DiscoverError;
use crate::feeds::Feeds;
use crate::given_name::{GivenName, ToServiceName};
use crate::instances::OpenInstances;
use crate::lazy_broadcaster::LazyBroadcaster;
use crate::lifecycle::Lifecycle;
use crate::options::LookupOptions;
use crate::reservations::UnknownHost;
use crate::watch::ServiceWatch;

/// Finds services by name. Clones share everything.
///
/// The type parameter supplies the builder's default
/// [reservations](crate::DiscoveryClientBuilder::reservations).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use portolan_client::DiscoveryClient;
///
/// let client: DiscoveryClient =
///     DiscoveryClient::builder().registry_url("http://localhost:7000").build()?;
/// let postgres = client.discover("postgres-primary").timeout(Duration::from_secs(5)).await?;
/// println!("PostgreSQL is at {}", postgres.address());
/// # Ok(()) }
/// ```
pub struct DiscoveryClient<H = UnknownHost> {
    inner: Arc<Inner>,
    host: PhantomData<fn() -> H>,
}

/// What the clones of a client and its lookups share.
pub(crate) struct Inner {
    pub(crate) resolver: CachedResolver,
    feeds: Feeds,
    broadcaster: Arc<LazyBroadcaster>,
    lifecycle: Lifecycle,
    /// For the debug output.
    registry_url: String,
    /// Ends the background tasks when the last clone, lookup and watch is dropped.
    guard: Arc<DropGuard>,
}

// === impl DiscoveryClient ===

impl<H> DiscoveryClient<H> {
    pub(crate) fn new(
        resolver: CachedResolver,
        feeds: Feeds,
        broadcaster: Arc<LazyBroadcaster>,
        lifecycle: Lifecycle,
        registry_url: String,
    ) -> Self {
        let guard = Arc::new(lifecycle.closed().clone().drop_guard());
        let inner = Inner { resolver, feeds, broadcaster, lifecycle, registry_url, guard };
        Self { inner: Arc::new(inner), host: PhantomData }
    }

    /// Looks up one instance: the first scope with an instance, then the best health, then the
    /// lowest priority, then the nearest if [`DiscoveryConfig::zone`](crate::DiscoveryConfig::zone) or
    /// [`prefer_same_host`](crate::DiscoveryConfig::prefer_same_host) is set, then in turn by weight, from a random start; at random
    /// while an instance is suspect.
    pub fn discover<N: ToServiceName + ?Sized>(&self, name: &N) -> Discover {
        Discover::new(self.lookup(name))
    }

    /// Looks up every instance, the best first.
    pub fn discover_all<N: ToServiceName + ?Sized>(&self, name: &N) -> DiscoverAll {
        DiscoverAll::new(self.lookup(name))
    }

    /// Keeps a live set of the instances of a service, from which one is selected for each request.
    ///
    /// ```no_run
    /// # async fn example(client: portolan_client::DiscoveryClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let instances = client.instances("api").await?;
    /// let picked = instances.pick_within(std::time::Duration::from_secs(5)).await?;
    /// match tokio::net::TcpStream::connect(picked.address()).await {
    ///     Ok(_) => picked.complete(),
    ///     Err(_) => picked.fail(),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn instances<N: ToServiceName + ?Sized>(&self, name: &N) -> OpenInstances {
        let Inner { resolver, feeds, lifecycle, .. } = &*self.inner;
        let (resolver, feeds, lifecycle) = (resolver.clone(), feeds.clone(), lifecycle.clone());
        OpenInstances::new(
            name.to_service_name(),
            resolver,
            feeds,
            lifecycle,
            Arc::clone(&self.inner.guard),
        )
    }

    /// Watches the instances of a service: a snapshot, then each change once and in order.
    ///
    /// The registry reports the changes, or the broadcast channel while the registry cannot be
    /// reached. A stream that is not read delays only itself.
    pub async fn watch<N: ToServiceName + ?Sized>(
        &self,
        name: &N,
    ) -> Result<ServiceWatch, DiscoverError> {
        self.open_watch(Some(name.to_service_name()?)).await
    }

    /// Watches the instances of every service.
    pub async fn watch_all(&self) -> Result<ServiceWatch, DiscoverError> {
        self.open_watch(None).await
    }

    /// Reports that connecting to an instance failed. For a while the instance is returned only if
    /// there is no other; if every instance has failed, the next lookup asks the strategies again.
    ///
    /// The registry is told in the background, if there is one and this is called within a tokio runtime. It connects to
    /// the instance itself; if that refuses, it is critical for everybody.
    pub fn report_failure(&self, endpoint: &ServiceEndpoint) {
        self.inner.resolver.report_failure(endpoint);
    }

    /// Ends every watch and every task, and waits for them. Pending lookups fail with
    /// [`DiscoverError::Closed`].
    pub async fn close(&self) {
        self.inner.lifecycle.close().await;
        self.inner.broadcaster.close().await;
    }

    pub(crate) fn lookup<N: ToServiceName + ?Sized>(&self, name: &N) -> Lookup {
        let (client, name) = (Arc::clone(&self.inner), GivenName::new(name));
        Lookup { client, name, options: LookupOptions::default() }
    }

    async fn open_watch(&self, name: Option<ServiceName>) -> Result<ServiceWatch, DiscoverError> {
        let Inner { resolver, feeds, lifecycle, .. } = &*self.inner;
        resolver.check_open()?;
        let (closed, guard) = (lifecycle.closed().clone(), Arc::clone(&self.inner.guard));
        ServiceWatch::open(feeds.clone(), name, closed, guard).await
    }
}

impl<H> Clone for DiscoveryClient<H> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), host: PhantomData }
    }
}

impl<H> fmt::Debug for DiscoveryClient<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryClient")
            .field("registry", &self.inner.registry_url)
            .field("scopes", &self.inner.feeds.scopes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

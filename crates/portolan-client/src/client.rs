//! The discovery client: what a program holds and asks.

use std::fmt;
use std::sync::Arc;

use portolan_core::{ServiceEndpoint, ServiceName};
use portolan_metrics::Metrics;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::builder::DiscoveryClientBuilder;
use crate::cache::CacheAction;
use crate::deps::Deps;
use crate::discover::{Discover, DiscoverAll, Options};
use crate::resolver::{Answered, Resolver};
use crate::select;
use crate::watch::ServiceWatch;
use crate::{DiscoverError, Discovered, Explanation, InvalidDiscovery};

/// Finds services by name. Clones share everything.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use portolan_client::DiscoveryClient;
///
/// let client = DiscoveryClient::builder().registry_url("http://localhost:7000").build()?;
/// let postgres = client.discover("postgres-primary").timeout(Duration::from_secs(5)).await?;
/// println!("PostgreSQL is at {}", postgres.address());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DiscoveryClient {
    resolver: Arc<Resolver>,
    /// Ends the tasks when the last clone is dropped.
    _life: Arc<DropGuard>,
}

// === impl DiscoveryClient ===

impl DiscoveryClient {
    /// Puts a client together; everything has a default.
    pub fn builder() -> DiscoveryClientBuilder {
        DiscoveryClientBuilder::default()
    }

    /// Finds one instance: of the own scope before `default`, well before ill, in turn among equals.
    pub fn discover(&self, name: &str) -> Discover {
        Discover::new(self.clone(), name)
    }

    /// Finds every instance, the best first.
    pub fn discover_all(&self, name: &str) -> DiscoverAll {
        DiscoverAll::new(self.clone(), name)
    }

    /// The instances of a service and their changes, as the registry tells them, or the broadcast
    /// channel while the registry cannot be reached.
    ///
    /// It begins with a snapshot, and each change is told once and in order. A stream that is not
    /// read holds up nothing but itself.
    pub async fn watch(&self, name: &str) -> Result<ServiceWatch, DiscoverError> {
        self.watch_these(Some(name.parse()?)).await
    }

    /// The same for every service.
    pub async fn watch_all(&self) -> Result<ServiceWatch, DiscoverError> {
        self.watch_these(None).await
    }

    /// The caller could not connect to this instance: for a while it is given out only where there is
    /// no other, and if that leaves none, the next discovery asks anew.
    pub fn report_failure(&self, endpoint: &ServiceEndpoint) {
        let Resolver { suspects, cache, .. } = &*self.resolver;
        suspects.suspect(&endpoint.id);
        if let Some(cache) = cache {
            cache.update(&endpoint.name, |entry| {
                match select::all_suspect(&entry.found.candidates, suspects) {
                    true => CacheAction::Stale,
                    false => CacheAction::Keep,
                }
            });
        }
    }

    /// Ends every watch and every task, and waits for them. Whoever is still waiting for a discovery
    /// gets [`DiscoverError::Closed`].
    pub async fn close(&self) {
        let Resolver { closed, tasks, deps, .. } = &*self.resolver;
        closed.cancel();
        tasks.close();
        tasks.wait().await;
        deps.broadcaster.close().await;
    }

    pub(crate) fn of(deps: Deps, metrics: Metrics) -> Result<Self, InvalidDiscovery> {
        let resolver = Arc::new(Resolver::new(deps, metrics)?);
        let life = Arc::new(resolver.closed.clone().drop_guard());
        Ok(Self { resolver, _life: life })
    }

    pub(crate) async fn find_one(
        &self,
        name: &str,
        options: &Options,
    ) -> Result<Discovered, DiscoverError> {
        let Answered { found, stale } = self.resolver.find(name.parse()?, false, options).await?;
        self.resolver.discovered(&found, stale).ok_or(DiscoverError::Closed)
    }

    pub(crate) async fn find_all(
        &self,
        name: &str,
        options: &Options,
    ) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
        let Answered { found, .. } = self.resolver.find(name.parse()?, true, options).await?;
        Ok(select::all(&found.candidates, &self.resolver.suspects))
    }

    pub(crate) async fn explain(&self, name: &str, options: &Options) -> Explanation {
        let name: ServiceName = match name.parse() {
            Ok(name) => name,
            Err(error) => {
                let result = Err(DiscoverError::InvalidName(error));
                return Explanation { name: None, attempts: Vec::new(), result };
            }
        };
        let (attempts, result) = match self.resolver.ask(name.clone(), false, options).await {
            Ok((found, attempts)) => {
                let discovered = self.resolver.discovered(&found, false);
                (attempts, discovered.ok_or(DiscoverError::Closed))
            }
            Err(error) => (error.attempts().to_vec(), Err(error)),
        };
        Explanation { name: Some(name), attempts, result }
    }

    async fn watch_these(&self, name: Option<ServiceName>) -> Result<ServiceWatch, DiscoverError> {
        self.resolver.check_open()?;
        ServiceWatch::open(self.clone(), name).await
    }

    pub(crate) fn deps(&self) -> &Deps {
        &self.resolver.deps
    }

    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.resolver.closed
    }
}

impl fmt::Debug for DiscoveryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryClient")
            .field("registry", &self.resolver.deps.registry.url())
            .field("scopes", &self.resolver.deps.scopes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

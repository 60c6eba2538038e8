//! The discovery client: what a program holds and asks.

use std::fmt;
use std::sync::Arc;

use portolan_core::{ServiceEndpoint, ServiceName};
use portolan_metrics::Metrics;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::builder::DiscoveryClientBuilder;
use crate::cache::Fate;
use crate::discover::{Discover, DiscoverAll, Options};
use crate::finder::{Answered, Finder};
use crate::parts::Parts;
use crate::pick;
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
    finder: Arc<Finder>,
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
        let Finder { suspects, cache, .. } = &*self.finder;
        suspects.suspect(&endpoint.id);
        if let Some(cache) = cache {
            cache.update(&endpoint.name, |entry| {
                match pick::all_suspect(&entry.found.candidates, suspects) {
                    true => Fate::Stale,
                    false => Fate::Keep,
                }
            });
        }
    }

    /// Ends every watch and every task, and waits for them. Whoever is still waiting for a discovery
    /// gets [`DiscoverError::Closed`].
    pub async fn close(&self) {
        let Finder { closed, tasks, parts, .. } = &*self.finder;
        closed.cancel();
        tasks.close();
        tasks.wait().await;
        parts.channel.close().await;
    }

    pub(crate) fn of(parts: Parts, metrics: Metrics) -> Result<Self, InvalidDiscovery> {
        let finder = Arc::new(Finder::new(parts, metrics)?);
        let life = Arc::new(finder.closed.clone().drop_guard());
        Ok(Self { finder, _life: life })
    }

    pub(crate) async fn find_one(
        &self,
        name: &str,
        options: &Options,
    ) -> Result<Discovered, DiscoverError> {
        let Answered { found, stale } = self.finder.find(name.parse()?, false, options).await?;
        self.finder.discovered(&found, stale).ok_or(DiscoverError::Closed)
    }

    pub(crate) async fn find_all(
        &self,
        name: &str,
        options: &Options,
    ) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
        let Answered { found, .. } = self.finder.find(name.parse()?, true, options).await?;
        Ok(pick::all(&found.candidates, &self.finder.suspects))
    }

    pub(crate) async fn explain(&self, name: &str, options: &Options) -> Explanation {
        let name: ServiceName = match name.parse() {
            Ok(name) => name,
            Err(error) => {
                let result = Err(DiscoverError::InvalidName(error));
                return Explanation { name: None, attempts: Vec::new(), result };
            }
        };
        let (attempts, result) = match self.finder.ask(name.clone(), false, options).await {
            Ok((found, attempts)) => {
                let discovered = self.finder.discovered(&found, false);
                (attempts, discovered.ok_or(DiscoverError::Closed))
            }
            Err(error) => (error.attempts().to_vec(), Err(error)),
        };
        Explanation { name: Some(name), attempts, result }
    }

    async fn watch_these(&self, name: Option<ServiceName>) -> Result<ServiceWatch, DiscoverError> {
        self.finder.check_open()?;
        ServiceWatch::open(self.clone(), name).await
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.finder.parts
    }

    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.finder.closed
    }
}

impl fmt::Debug for DiscoveryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryClient")
            .field("registry", &self.finder.parts.registry.url())
            .field("scopes", &self.finder.parts.scopes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! Finds services by name: the cache, then the chain of strategies, then what the cache still has.

use std::fmt;
use std::sync::Arc;

use portolan_core::{ServiceEndpoint, ServiceName};
use portolan_metrics::Metrics;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::attempt::{Attempt, Record};
use crate::builder::DiscoveryClientBuilder;
use crate::cache::{Cache, Fate};
use crate::chain::{Chain, Found, Wanted};
use crate::discover::{Discover, DiscoverAll, Options};
use crate::flights::Flights;
use crate::freshness::Freshness;
use crate::parts::Parts;
use crate::pick::{self, Suspects};
use crate::refresh::{self, Refreshing};
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
    inner: Arc<Inner>,
    /// Ends the tasks when the last clone is dropped.
    _life: Arc<DropGuard>,
}

/// What the client and its tasks share.
pub(crate) struct Inner {
    pub(crate) parts: Parts,
    pub(crate) metrics: Metrics,
    chain: Arc<Chain>,
    flights: Flights,
    /// None where the configuration turns it off.
    pub(crate) cache: Option<Cache>,
    pub(crate) suspects: Suspects,
    pub(crate) freshness: Freshness,
    pub(crate) refreshing: Refreshing,
    pub(crate) tasks: TaskTracker,
    pub(crate) closed: CancellationToken,
}

/// What came of a discovery.
struct Answered {
    found: Arc<Found>,
    stale: bool,
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
        let Inner { suspects, cache, .. } = &*self.inner;
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
        let Inner { closed, tasks, parts, .. } = &*self.inner;
        closed.cancel();
        tasks.close();
        tasks.wait().await;
        parts.channel.close().await;
    }

    pub(crate) fn of(parts: Parts, metrics: Metrics) -> Result<Self, InvalidDiscovery> {
        let cache = &parts.config.cache;
        let closed = CancellationToken::new();
        let life = Arc::new(closed.clone().drop_guard());
        let inner = Inner {
            chain: Arc::new(Chain::new(&parts, metrics.clone())?),
            flights: Flights::default(),
            cache: cache.enabled.then(|| Cache::new(cache)),
            suspects: Suspects::new(),
            freshness: Freshness::default(),
            refreshing: Refreshing::default(),
            tasks: TaskTracker::new(),
            parts,
            metrics,
            closed,
        };
        Ok(Self { inner: Arc::new(inner), _life: life })
    }

    pub(crate) async fn find_one(
        &self,
        name: &str,
        options: &Options,
    ) -> Result<Discovered, DiscoverError> {
        let Answered { found, stale } = self.inner.find(name.parse()?, false, options).await?;
        self.inner.discovered(&found, stale).ok_or(DiscoverError::Closed)
    }

    pub(crate) async fn find_all(
        &self,
        name: &str,
        options: &Options,
    ) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
        let Answered { found, .. } = self.inner.find(name.parse()?, true, options).await?;
        Ok(pick::all(&found.candidates, &self.inner.suspects))
    }

    pub(crate) async fn explain(&self, name: &str, options: &Options) -> Explanation {
        let name: ServiceName = match name.parse() {
            Ok(name) => name,
            Err(error) => {
                let result = Err(DiscoverError::InvalidName(error));
                return Explanation { name: None, attempts: Vec::new(), result };
            }
        };
        let (attempts, result) = match self.inner.ask(name.clone(), false, options).await {
            Ok((found, attempts)) => {
                let discovered = self.inner.discovered(&found, false);
                (attempts, discovered.ok_or(DiscoverError::Closed))
            }
            Err(error) => (error.attempts().to_vec(), Err(error)),
        };
        Explanation { name: Some(name), attempts, result }
    }

    async fn watch_these(&self, name: Option<ServiceName>) -> Result<ServiceWatch, DiscoverError> {
        self.inner.check_open()?;
        ServiceWatch::open(self.clone(), name).await
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.inner.closed
    }
}

impl fmt::Debug for DiscoveryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryClient")
            .field("registry", &self.inner.parts.registry.url())
            .field("scopes", &self.inner.parts.scopes)
            .finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Inner {
    /// The cache, then the strategies, then whatever the cache still has.
    async fn find(
        self: &Arc<Self>,
        name: ServiceName,
        all: bool,
        options: &Options,
    ) -> Result<Answered, DiscoverError> {
        self.check_open()?;
        // Whoever says whom to ask wants their answer, not what somebody else once said.
        let cache = self.cache.as_ref().filter(|_| options.strategies.is_none());
        let known = cache.and_then(|cache| cache.get(&name, all));
        if let Some(entry) = known.as_ref().filter(|entry| entry.is_fresh()) {
            self.metrics.cache_hit(name.as_str());
            return Ok(Answered { found: Arc::new(entry.found.clone()), stale: false });
        }
        if cache.is_some() {
            self.metrics.cache_miss(name.as_str());
        }
        match self.ask(name.clone(), all, options).await {
            Ok((found, _)) => Ok(Answered { found, stale: false }),
            Err(DiscoverError::Closed) => Err(DiscoverError::Closed),
            Err(error) => match cache.and_then(|cache| cache.get(&name, all)) {
                Some(entry) => {
                    self.metrics.cache_stale_served(name.as_str());
                    warn!(service_name = %name, %error, "serving a stale endpoint");
                    refresh::begin(self, name, all);
                    Ok(Answered { found: Arc::new(entry.found.clone()), stale: true })
                }
                None => {
                    log_failure(&name, &error);
                    Err(error)
                }
            },
        }
    }

    /// Asks the strategies, together with everybody who asks for the same now.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        name: ServiceName,
        all: bool,
        options: &Options,
    ) -> Result<(Arc<Found>, Vec<Attempt>), DiscoverError> {
        self.check_open()?;
        let config = &self.parts.config;
        let retries = options.retries.unwrap_or(config.retries);
        let wanted = Wanted { name, all, retries, strategies: options.strategies()? };
        let flight = self.flights.join(&wanted, || self.take_off(&wanted));
        let limit = options.timeout.unwrap_or(config.timeouts.overall);
        let landed = timeout_at(Instant::now() + limit, flight.landing);
        let landed = tokio::select! {
            landed = landed => landed,
            () = self.closed.cancelled() => return Err(DiscoverError::Closed),
        };
        let attempts = flight.record.attempts();
        match landed {
            Ok(Some(found)) => Ok((found, attempts)),
            Ok(None) => Err(DiscoverError::of(wanted.name, self.parts.scopes.clone(), attempts)),
            Err(_) => Err(DiscoverError::TimedOut { name: wanted.name, limit, attempts }),
        }
    }

    /// One run of the chain, with what it finds put into the cache.
    fn take_off(
        self: &Arc<Self>,
        wanted: &Wanted,
    ) -> (Arc<Record>, impl Future<Output = Option<Found>> + Send + use<>) {
        let record = Arc::new(Record::of(self.chain.order(wanted)));
        let (inner, wanted, flown) = (Arc::clone(self), wanted.clone(), Arc::clone(&record));
        let search = async move {
            let found = inner.chain.run(&wanted, &flown).await?;
            if wanted.strategies.is_none() {
                inner.keep(wanted.name, &found);
            }
            Some(found)
        };
        (record, search)
    }

    fn keep(self: &Arc<Self>, name: ServiceName, found: &Found) {
        if let Some(cache) = &self.cache {
            cache.insert(name, found.clone());
            self.freshness.of_new_entry(self);
        }
    }

    fn discovered(&self, found: &Found, stale: bool) -> Option<Discovered> {
        let chosen = pick::one(&found.candidates, &self.suspects)?;
        let endpoint = (*chosen.endpoint).clone();
        Some(Discovered { endpoint, strategy: found.strategy, stale })
    }

    fn check_open(&self) -> Result<(), DiscoverError> {
        if self.closed.is_cancelled() {
            return Err(DiscoverError::Closed);
        }
        match self.parts.config.enabled {
            true => Ok(()),
            false => Err(DiscoverError::Disabled),
        }
    }
}

fn log_failure(name: &ServiceName, error: &DiscoverError) {
    if error.attempts().is_empty() {
        return;
    }
    let tried: Vec<&str> =
        error.attempts().iter().map(|attempt| attempt.strategy.as_str()).collect();
    error!(
        service_name = %name,
        strategies_tried = ?tried,
        %error,
        "Discovery failed after all strategies"
    );
}

#[cfg(test)]
mod tests;

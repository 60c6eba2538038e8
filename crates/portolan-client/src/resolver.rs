//! Finds: the cache, then the chain of strategies, then what the cache still has.

use std::sync::Arc;

use portolan_core::ServiceName;
use portolan_metrics::Metrics;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::attempt::{Attempt, AttemptLog};
use crate::cache::{Cache, CacheAction};
use crate::cache_sync::CacheSync;
use crate::chain::{Chain, LookupKey, Resolution};
use crate::deps::Deps;
use crate::discover::Options;
use crate::refresh::{self, Refreshing};
use crate::select::{self, Suspects};
use crate::singleflight::SingleFlight;
use crate::{DiscoverError, Discovered, InvalidDiscovery};

/// What the client and its tasks share.
pub(crate) struct Resolver {
    pub(crate) deps: Deps,
    pub(crate) metrics: Metrics,
    chain: Arc<Chain>,
    singleflight: SingleFlight,
    /// None where the configuration turns it off.
    pub(crate) cache: Option<Cache>,
    pub(crate) suspects: Suspects,
    pub(crate) cache_sync: CacheSync,
    pub(crate) refreshing: Refreshing,
    pub(crate) tasks: TaskTracker,
    pub(crate) closed: CancellationToken,
}

/// What came of a discovery.
pub(crate) struct Answered {
    pub(crate) found: Arc<Resolution>,
    pub(crate) stale: bool,
}

// === impl Resolver ===

impl Resolver {
    pub(crate) fn new(deps: Deps, metrics: Metrics) -> Result<Self, InvalidDiscovery> {
        let cache = &deps.config.cache;
        Ok(Self {
            chain: Arc::new(Chain::new(&deps, metrics.clone())?),
            singleflight: SingleFlight::default(),
            cache: cache.enabled.then(|| Cache::new(cache)),
            suspects: Suspects::new(),
            cache_sync: CacheSync::default(),
            refreshing: Refreshing::default(),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
            deps,
            metrics,
        })
    }

    /// The cache, then the strategies, then whatever the cache still has.
    pub(crate) async fn find(
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
            return Ok(Answered { found: Arc::clone(&entry.found), stale: false });
        }
        if cache.is_some() {
            self.metrics.cache_miss(name.as_str());
        }
        match self.ask(name.clone(), all, options).await {
            Ok((found, _)) => Ok(Answered { found, stale: false }),
            Err(error) => self.fall_back(name, all, error, cache),
        }
    }

    /// What the cache still has, where nobody could be asked who would know better.
    fn fall_back(
        self: &Arc<Self>,
        name: ServiceName,
        all: bool,
        error: DiscoverError,
        cache: Option<&Cache>,
    ) -> Result<Answered, DiscoverError> {
        let still = cache.and_then(|cache| cache.get(&name, all));
        match still {
            Some(entry) if error.is_want_of_answers() => {
                self.metrics.cache_stale_served(name.as_str());
                warn!(service_name = %name, %error, "Serving a stale endpoint");
                refresh::begin(self, name, all);
                Ok(Answered { found: Arc::clone(&entry.found), stale: true })
            }
            _ => {
                log_failure(&name, &error);
                if let (DiscoverError::NotFound { .. }, Some(cache)) = (&error, cache) {
                    let action =
                        |fresh| if fresh { CacheAction::Keep } else { CacheAction::Remove };
                    cache.update(&name, |entry| action(entry.is_fresh()));
                }
                Err(error)
            }
        }
    }

    /// Asks the strategies, together with everybody who asks for the same now.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        name: ServiceName,
        all: bool,
        options: &Options,
    ) -> Result<(Arc<Resolution>, Vec<Attempt>), DiscoverError> {
        self.check_open()?;
        let config = &self.deps.config;
        let retries = options.retries.unwrap_or(config.retries);
        let limit = options.timeout.unwrap_or(config.timeouts.overall);
        let strategies = options.strategies()?;
        let key = LookupKey { name, all, retries, overall: limit, strategies };
        let flight = self.singleflight.join(&key, || self.take_off(&key));
        let landed = timeout_at(Instant::now() + limit, flight.result);
        let landed = tokio::select! {
            landed = landed => landed,
            () = self.closed.cancelled() => return Err(DiscoverError::Closed),
        };
        let attempts = flight.record.attempts();
        match landed {
            Ok(Some(found)) => Ok((found, attempts)),
            Ok(None) => Err(DiscoverError::of(key.name, self.deps.scopes.clone(), limit, attempts)),
            Err(_) => Err(DiscoverError::TimedOut { name: key.name, limit, attempts }),
        }
    }

    /// One run of the chain, with what it finds put into the cache.
    fn take_off(
        self: &Arc<Self>,
        key: &LookupKey,
    ) -> (Arc<AttemptLog>, impl Future<Output = Option<Arc<Resolution>>> + Send + use<>) {
        let record = Arc::new(AttemptLog::of(self.chain.order(key)));
        let (resolver, key, flown) = (Arc::clone(self), key.clone(), Arc::clone(&record));
        let search = async move {
            let found = Arc::new(resolver.chain.run(&key, &flown).await?);
            if key.strategies.is_none() {
                resolver.keep(key.name, Arc::clone(&found));
            }
            Some(found)
        };
        (record, search)
    }

    fn keep(self: &Arc<Self>, name: ServiceName, found: Arc<Resolution>) {
        if let Some(cache) = &self.cache {
            cache.insert(name, found);
            self.cache_sync.of_new_entry(self);
        }
    }

    pub(crate) fn discovered(&self, found: &Resolution, stale: bool) -> Option<Discovered> {
        let chosen = select::one(&found.candidates, &self.suspects)?;
        let endpoint = (*chosen.endpoint).clone();
        Some(Discovered { endpoint, strategy: found.strategy, stale })
    }

    pub(crate) fn check_open(&self) -> Result<(), DiscoverError> {
        if self.closed.is_cancelled() {
            return Err(DiscoverError::Closed);
        }
        match self.deps.config.enabled {
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

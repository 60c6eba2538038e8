//! Finds: the cache, then the chain of strategies, then what the cache still has.

use std::sync::Arc;

use portolan_core::ServiceName;
use portolan_metrics::Metrics;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::attempt::{Attempt, Record};
use crate::cache::{Cache, Fate};
use crate::chain::{Chain, Found, Wanted};
use crate::discover::Options;
use crate::flights::Flights;
use crate::freshness::Freshness;
use crate::parts::Parts;
use crate::pick::{self, Suspects};
use crate::refresh::{self, Refreshing};
use crate::{DiscoverError, Discovered, InvalidDiscovery};

/// What the client and its tasks share.
pub(crate) struct Finder {
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
pub(crate) struct Answered {
    pub(crate) found: Arc<Found>,
    pub(crate) stale: bool,
}

// === impl Finder ===

impl Finder {
    pub(crate) fn new(parts: Parts, metrics: Metrics) -> Result<Self, InvalidDiscovery> {
        let cache = &parts.config.cache;
        Ok(Self {
            chain: Arc::new(Chain::new(&parts, metrics.clone())?),
            flights: Flights::default(),
            cache: cache.enabled.then(|| Cache::new(cache)),
            suspects: Suspects::new(),
            freshness: Freshness::default(),
            refreshing: Refreshing::default(),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
            parts,
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
                    let fate = |fresh| if fresh { Fate::Keep } else { Fate::Remove };
                    cache.update(&name, |entry| fate(entry.is_fresh()));
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
    ) -> Result<(Arc<Found>, Vec<Attempt>), DiscoverError> {
        self.check_open()?;
        let config = &self.parts.config;
        let retries = options.retries.unwrap_or(config.retries);
        let limit = options.timeout.unwrap_or(config.timeouts.overall);
        let strategies = options.strategies()?;
        let wanted = Wanted { name, all, retries, overall: limit, strategies };
        let flight = self.flights.join(&wanted, || self.take_off(&wanted));
        let landed = timeout_at(Instant::now() + limit, flight.landing);
        let landed = tokio::select! {
            landed = landed => landed,
            () = self.closed.cancelled() => return Err(DiscoverError::Closed),
        };
        let attempts = flight.record.attempts();
        match landed {
            Ok(Some(found)) => Ok((found, attempts)),
            Ok(None) => {
                Err(DiscoverError::of(wanted.name, self.parts.scopes.clone(), limit, attempts))
            }
            Err(_) => Err(DiscoverError::TimedOut { name: wanted.name, limit, attempts }),
        }
    }

    /// One run of the chain, with what it finds put into the cache.
    fn take_off(
        self: &Arc<Self>,
        wanted: &Wanted,
    ) -> (Arc<Record>, impl Future<Output = Option<Arc<Found>>> + Send + use<>) {
        let record = Arc::new(Record::of(self.chain.order(wanted)));
        let (finder, wanted, flown) = (Arc::clone(self), wanted.clone(), Arc::clone(&record));
        let search = async move {
            let found = Arc::new(finder.chain.run(&wanted, &flown).await?);
            if wanted.strategies.is_none() {
                finder.keep(wanted.name, Arc::clone(&found));
            }
            Some(found)
        };
        (record, search)
    }

    fn keep(self: &Arc<Self>, name: ServiceName, found: Arc<Found>) {
        if let Some(cache) = &self.cache {
            cache.insert(name, found);
            self.freshness.of_new_entry(self);
        }
    }

    pub(crate) fn discovered(&self, found: &Found, stale: bool) -> Option<Discovered> {
        let chosen = pick::one(&found.candidates, &self.suspects)?;
        let endpoint = (*chosen.endpoint).clone();
        Some(Discovered { endpoint, strategy: found.strategy, stale })
    }

    pub(crate) fn check_open(&self) -> Result<(), DiscoverError> {
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

//! Resolves a name from the cache, or else by the strategies, or else from a stale cache entry.

use std::sync::Arc;

use portolan_core::{ServiceEndpoint, ServiceName};
use portolan_metrics::Metrics;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::attempt::Attempt;
use crate::cache::{Cache, CacheAction};
use crate::cache_sync::CacheSync;
use crate::chain::Resolution;
use crate::discovered::Discovered;
use crate::error::DiscoverError;
use crate::failure_reporter::FailureReporter;
use crate::lifecycle::Lifecycle;
use crate::locality::Locality;
use crate::options::LookupOptions;
use crate::refresh::Refresher;
use crate::resolver::Resolver;
use crate::select::{self, Suspects};

/// A resolver with a cache; clones share everything.
#[derive(Clone)]
pub(crate) struct CachedResolver {
    resolver: Arc<Resolver>,
    /// `None` if the configuration turns the cache off.
    cached: Option<Cached>,
    suspects: Arc<Suspects>,
    locality: Arc<Locality>,
    refresher: Refresher,
    /// `None` if no strategy uses the registry.
    reporter: Option<Arc<FailureReporter>>,
    metrics: Metrics,
}

#[derive(Clone)]
struct Cached {
    cache: Arc<Cache>,
    sync: Arc<CacheSync>,
}

/// A resolution, and whether it comes from a stale cache entry.
struct Answer {
    resolution: Arc<Resolution>,
    stale: bool,
}

// === impl CachedResolver ===

impl CachedResolver {
    /// Creates the resolver over a cache and the task that keeps the cache current.
    pub(crate) fn new(
        resolver: Resolver,
        cached: Option<(Arc<Cache>, CacheSync)>,
        suspects: Arc<Suspects>,
        lifecycle: Lifecycle,
        metrics: Metrics,
    ) -> Self {
        let cached = cached.map(|(cache, sync)| Cached { cache, sync: Arc::new(sync) });
        let refresher = Refresher::new(lifecycle);
        let resolver = Arc::new(resolver);
        let locality = Arc::default();
        Self { resolver, cached, suspects, locality, refresher, reporter: None, metrics }
    }

    /// Tells the registry of failed connections too.
    pub(crate) fn reporting_to(self, reporter: Option<Arc<FailureReporter>>) -> Self {
        Self { reporter, ..self }
    }

    /// Prefers near instances among those that are as good otherwise.
    pub(crate) fn preferring(self, locality: Locality) -> Self {
        Self { locality: Arc::new(locality), ..self }
    }

    /// Returns which instances are preferred.
    pub(crate) fn locality(&self) -> &Locality {
        &self.locality
    }

    /// Fails if discovery is disabled or the client is closed.
    pub(crate) fn check_open(&self) -> Result<(), DiscoverError> {
        self.resolver.check_open()
    }

    /// Returns the instances to which a caller could not connect.
    pub(crate) fn suspects(&self) -> &Arc<Suspects> {
        &self.suspects
    }

    /// Returns one of the best instances if it takes nothing but reading the cache: the entry is fresh and no instance is suspect.
    /// It neither waits nor allocates, and takes no lock.
    pub(crate) fn find_cached(&self, name: &str) -> Option<Discovered> {
        let Cached { cache, .. } = self.cached.as_ref()?;
        if !self.resolver.is_open() || !self.suspects.are_none() {
            return None;
        }
        let now = Instant::now();
        let found = cache.read(name, |entry| {
            let answer = entry.best.next().filter(|_| entry.is_fresh_at(now))?;
            entry.hits.record(name);
            Some(answer.clone())
        });
        found.flatten()
    }

    /// Returns one of the best instances.
    pub(crate) async fn find_one(
        &self,
        name: ServiceName,
        options: &LookupOptions,
    ) -> Result<Discovered, DiscoverError> {
        let Answer { resolution, stale } = self.find(name, false, options).await?;
        self.select(&resolution, stale)
    }

    /// Returns every instance, the best first.
    pub(crate) async fn find_all(
        &self,
        name: ServiceName,
        options: &LookupOptions,
    ) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
        let Answer { resolution, .. } = self.find(name, true, options).await?;
        Ok(self.all(&resolution))
    }

    /// Asks the strategies without the cache and returns the attempts as well.
    pub(crate) async fn explain(
        &self,
        name: ServiceName,
        options: &LookupOptions,
    ) -> (Vec<Attempt>, Result<Discovered, DiscoverError>) {
        match self.resolve(name, false, options).await {
            Ok((resolution, attempts)) => (attempts, self.select(&resolution, false)),
            Err(error) => (error.attempts().to_vec(), Err(error)),
        }
    }

    /// Does the same for every instance, the best first.
    pub(crate) async fn explain_all(
        &self,
        name: ServiceName,
        options: &LookupOptions,
    ) -> (Vec<Attempt>, Result<Vec<ServiceEndpoint>, DiscoverError>) {
        match self.resolve(name, true, options).await {
            Ok((resolution, attempts)) => (attempts, Ok(self.all(&resolution))),
            Err(error) => (error.attempts().to_vec(), Err(error)),
        }
    }

    /// Avoids an instance for a while, and has the registry ask it; once every instance is suspect, the entry becomes stale.
    pub(crate) fn report_failure(&self, endpoint: &ServiceEndpoint) {
        self.suspects.insert(&endpoint.id);
        if let Some(reporter) = &self.reporter {
            reporter.report(&endpoint.id);
        }
        if let Some(Cached { cache, .. }) = &self.cached {
            cache.update(&endpoint.name, |entry| {
                let all = select::all_suspect(&entry.resolution.candidates, &self.suspects);
                if all { CacheAction::MarkStale } else { CacheAction::Keep }
            });
        }
    }

    async fn find(
        &self,
        name: ServiceName,
        all: bool,
        options: &LookupOptions,
    ) -> Result<Answer, DiscoverError> {
        self.check_open()?;
        // A caller that names strategies wants their result, not one of another strategy.
        let cached = self.cached.as_ref().filter(|_| options.strategies.is_none());
        let entry = cached.and_then(|cached| cached.cache.get(&name, all));
        if let Some(entry) = entry.filter(|entry| entry.is_fresh()) {
            self.metrics.cache_hit(name.as_str());
            return Ok(Answer { resolution: Arc::clone(&entry.resolution), stale: false });
        }
        if cached.is_some() {
            self.metrics.cache_miss(name.as_str());
        }
        match self.resolve(name.clone(), all, options).await {
            Ok((resolution, _)) => Ok(Answer { resolution, stale: false }),
            Err(error) => self.fall_back(name, all, error, cached),
        }
    }

    /// Serves a stale entry if a strategy that might know better could not be asked.
    fn fall_back(
        &self,
        name: ServiceName,
        all: bool,
        error: DiscoverError,
        cached: Option<&Cached>,
    ) -> Result<Answer, DiscoverError> {
        let entry = cached.and_then(|cached| cached.cache.get(&name, all));
        match entry {
            Some(entry) if error.is_inconclusive() => {
                self.metrics.cache_stale_served(name.as_str());
                warn!(service_name = %name, %error, "Stale endpoint served");
                self.refresh(name, all);
                Ok(Answer { resolution: Arc::clone(&entry.resolution), stale: true })
            }
            _ => {
                log_failure(&name, &error);
                use DiscoverError::{NotAvailable, NotFound};
                if let (NotFound { .. } | NotAvailable { .. }, Some(Cached { cache, .. })) =
                    (&error, cached)
                {
                    cache.update(&name, |entry| {
                        if entry.is_fresh() { CacheAction::Keep } else { CacheAction::Remove }
                    });
                }
                Err(error)
            }
        }
    }

    /// Asks the strategies and caches the result, unless the caller names the strategies.
    pub(crate) async fn resolve(
        &self,
        name: ServiceName,
        all: bool,
        options: &LookupOptions,
    ) -> Result<(Arc<Resolution>, Vec<Attempt>), DiscoverError> {
        let cached = self.cached.clone().filter(|_| options.strategies.is_none());
        let (key, suspects) = (name.clone(), Arc::clone(&self.suspects));
        let keep = move |resolution: &Arc<Resolution>| {
            if let Some(Cached { cache, sync }) = cached {
                suspects.forget_ended();
                cache.insert(&key, Arc::clone(resolution));
                sync.follow_new_entry();
            }
        };
        self.resolver.resolve(name, all, options, keep).await
    }

    /// Retries the lookup of a stale entry in the background.
    fn refresh(&self, name: ServiceName, all: bool) {
        let (this, key) = (self.clone(), name.clone());
        self.refresher.start(name, move || {
            let (this, name) = (this.clone(), key.clone());
            async move {
                let cached = this.cached.as_ref().map(|cached| cached.cache.get(&name, all));
                if cached.flatten().is_none_or(|entry| entry.is_fresh()) {
                    return Ok(());
                }
                this.resolve(name, all, &LookupOptions::default()).await.map(drop)
            }
        });
    }

    fn all(&self, resolution: &Resolution) -> Vec<ServiceEndpoint> {
        select::all(&resolution.candidates, &self.suspects, &self.locality)
    }

    fn select(&self, resolution: &Resolution, stale: bool) -> Result<Discovered, DiscoverError> {
        let selected = select::one(&resolution.candidates, &self.suspects, &self.locality);
        let selected = selected.ok_or(DiscoverError::Closed)?;
        Ok(Discovered::new(resolution, selected, stale))
    }

    #[cfg(test)]
    pub(crate) fn cache(&self) -> &Cache {
        &self.cached.as_ref().unwrap().cache
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

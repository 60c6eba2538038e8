//! Resolves a name by asking the strategies, once for all concurrent callers.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::ServiceName;
use tokio::time::timeout;

use crate::attempt::{Attempt, AttemptLog};
use crate::chain::{Chain, LookupKey, Resolution};
use crate::error::DiscoverError;
use crate::lifecycle::Lifecycle;
use crate::options::{LookupOptions, ProgressObserver};
use crate::singleflight::SingleFlight;

/// A resolver without a cache.
pub(crate) struct Resolver {
    chain: Arc<Chain>,
    single_flight: SingleFlight,
    lifecycle: Lifecycle,
    enabled: bool,
    retries: u32,
    overall: Duration,
}

// === impl Resolver ===

impl Resolver {
    /// Creates a resolver with these defaults of the options.
    pub(crate) fn new(
        chain: Chain,
        lifecycle: Lifecycle,
        enabled: bool,
        (retries, overall): (u32, Duration),
    ) -> Self {
        let (chain, single_flight) = (Arc::new(chain), SingleFlight::default());
        Self { chain, single_flight, lifecycle, enabled, retries, overall }
    }

    /// Fails if discovery is disabled or the client is closed.
    pub(crate) fn check_open(&self) -> Result<(), DiscoverError> {
        self.lifecycle.check_open()?;
        if self.enabled { Ok(()) } else { Err(DiscoverError::Disabled) }
    }

    /// Returns whether [`Self::check_open`] would succeed, without a lock.
    pub(crate) fn is_open(&self) -> bool {
        self.enabled && !self.lifecycle.is_closed()
    }

    /// Asks the strategies. Of several concurrent callers with equal arguments, the function of the
    /// first receives the resolution, once.
    pub(crate) async fn resolve(
        &self,
        name: ServiceName,
        all: bool,
        options: &LookupOptions,
        on_found: impl FnOnce(&Arc<Resolution>) + Send + 'static,
    ) -> Result<(Arc<Resolution>, Vec<Attempt>), DiscoverError> {
        self.check_open()?;
        let names = options.strategies.as_ref().map(|names| {
            names.iter().map(|name| self.chain.strategy_name(name)).collect::<Result<Vec<_>, _>>()
        });
        let strategies = names.transpose()?;
        let retries = options.retries.unwrap_or(self.retries);
        let overall = options.timeout.unwrap_or(self.overall);
        let key = LookupKey { name, all, retries, overall, strategies };
        let lookup =
            self.single_flight.join(&key, || self.start(&key, options.progress.clone(), on_found));
        let result = self.lifecycle.run(timeout(overall, lookup.result)).await?;
        let attempts = lookup.log.attempts();
        match result {
            Ok(Some(resolution)) => Ok((resolution, attempts)),
            Ok(None) => {
                let scopes = self.chain.scopes().to_vec();
                Err(DiscoverError::from_attempts(key.name, scopes, overall, attempts))
            }
            Err(_) => Err(DiscoverError::TimedOut { name: key.name, limit: overall, attempts }),
        }
    }

    fn start<F>(
        &self,
        key: &LookupKey,
        observer: Option<ProgressObserver>,
        on_found: F,
    ) -> (Arc<AttemptLog>, impl Future<Output = Option<Arc<Resolution>>> + Send + use<F>)
    where
        F: FnOnce(&Arc<Resolution>) + Send + 'static,
    {
        let log = Arc::new(AttemptLog::new(self.chain.order(key)).observed_by(observer));
        let (chain, key, attempts) = (Arc::clone(&self.chain), key.clone(), Arc::clone(&log));
        let lookup = async move {
            let resolution = Arc::new(chain.run(&key, &attempts).await?);
            on_found(&resolution);
            Some(resolution)
        };
        (log, lookup)
    }
}

//! The request builders of the client: one lookup with its options.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::{ServiceEndpoint, ServiceName};
use tokio::time::sleep;

use crate::attempt::Attempt;
use crate::cached_resolver::CachedResolver;
use crate::client::Inner;
use crate::deadline::Deadline;
use crate::discovered::{Discovered, Explanation};
use crate::error::DiscoverError;
use crate::given_name::GivenName;
use crate::options::{LookupOptions, ProgressObserver};
use crate::strategy_name::StrategyName;

/// The interval between lookups of a service that is missing or not ready.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// How long a lookup may take in any case.
const MIN_TIMEOUT: Duration = Duration::from_millis(20);
/// The longest wait, so that the clock does not overflow.
const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A lookup of one instance; `await` it.
#[must_use = "a lookup does nothing unless it is awaited"]
#[derive(Clone)]
pub struct Discover(Lookup);

/// A lookup of every instance; `await` it.
#[must_use = "a lookup does nothing unless it is awaited"]
#[derive(Clone)]
pub struct DiscoverAll(Lookup);

/// A lookup of one instance that was sent. If the cache knows the answer, it is ready at once, without a lock or an allocation.
#[must_use = "a lookup does nothing unless it is awaited"]
pub struct DiscoverFuture {
    /// `None` once the strategies are asked.
    lookup: Option<Lookup>,
    asking: Option<BoxFuture<'static, Result<Discovered, DiscoverError>>>,
}

/// A lookup that is not sent yet. It keeps the client alive.
#[derive(Clone)]
pub(crate) struct Lookup {
    pub(crate) client: Arc<Inner>,
    pub(crate) name: GivenName,
    pub(crate) options: LookupOptions,
}

macro_rules! options {
    ($type:ident) => {
        impl $type {
            pub(crate) fn new(lookup: Lookup) -> Self {
                Self(lookup)
            }

            /// Sets how long all strategies together may take, instead of
            /// `discovery.timeouts.overall`.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.0.options.timeout = Some(timeout);
                self
            }

            /// Sets how often a strategy is asked again, instead of `discovery.retries`.
            pub fn retries(mut self, retries: u32) -> Self {
                self.0.options.retries = Some(retries);
                self
            }

            /// Sets the strategies in order, instead of `discovery.strategies`. The lookup bypasses
            /// the cache.
            pub fn strategies<I>(mut self, strategies: I) -> Self
            where
                I: IntoIterator<Item: AsRef<str>>,
            {
                self.0.options.set_strategies(strategies);
                self
            }

            /// Sets a function that is called with each strategy when it is asked, to show the progress.
            /// It must not block. If concurrent equal lookups share one request, only the function of
            /// the first is called.
            pub fn progress(
                mut self,
                observe: impl Fn(StrategyName) + Send + Sync + 'static,
            ) -> Self {
                self.0.options.progress = Some(ProgressObserver(Arc::new(observe)));
                self
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Lookup { name, options, .. } = &self.0;
                f.debug_tuple(stringify!($type)).field(name).field(options).finish()
            }
        }
    };
}

// === impl Lookup ===

impl Lookup {
    /// Returns the answer if the cache knows it and the caller wants no other.
    pub(crate) fn cached(&self) -> Option<Discovered> {
        let LookupOptions { wait: None, strategies: None, .. } = &self.options else { return None };
        self.resolver().find_cached(self.name.as_text()?)
    }

    pub(crate) async fn one(self) -> Result<Discovered, DiscoverError> {
        match self.options.wait {
            Some(wait) => self.wait_until_ready(self.name.parse()?, wait).await.1,
            None => self.resolver().find_one(self.name.parse()?, &self.options).await,
        }
    }

    pub(crate) async fn all(self) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
        self.resolver().find_all(self.name.parse()?, &self.options).await
    }

    pub(crate) async fn explain(self) -> Explanation {
        match self.name.parse() {
            Ok(name) => {
                let (attempts, result) = match self.options.wait {
                    Some(wait) => self.wait_until_ready(name.clone(), wait).await,
                    None => self.resolver().explain(name.clone(), &self.options).await,
                };
                Explanation { name: Some(name), attempts, result }
            }
            Err(error) => Explanation::invalid_name(error),
        }
    }

    pub(crate) async fn explain_all(self) -> Explanation<Vec<ServiceEndpoint>> {
        match self.name.parse() {
            Ok(name) => {
                let (attempts, result) =
                    self.resolver().explain_all(name.clone(), &self.options).await;
                Explanation { name: Some(name), attempts, result }
            }
            Err(error) => Explanation::invalid_name(error),
        }
    }

    fn resolver(&self) -> &CachedResolver {
        &self.client.resolver
    }

    /// Repeats the lookup, without the cache, until an instance is ready or the time is over.
    async fn wait_until_ready(
        &self,
        name: ServiceName,
        wait: Duration,
    ) -> (Vec<Attempt>, Result<Discovered, DiscoverError>) {
        let end = Deadline::after(wait.min(MAX_WAIT));
        let mut last = None;
        loop {
            let timeout = end.remaining().max(MIN_TIMEOUT);
            let limit = self.options.timeout.map_or(timeout, |limit| limit.min(timeout));
            let options =
                LookupOptions { timeout: Some(limit), retries: Some(0), ..self.options.clone() };
            let (attempts, result) = self.resolver().explain(name.clone(), &options).await;
            let result = match result {
                Ok(found) if found.is_ready() => return (attempts, Ok(found)),
                Ok(found) => Err(DiscoverError::not_ready(&found, wait)),
                Err(error) if error.is_permanent() => return (attempts, Err(error)),
                Err(error) => Err(error),
            };
            // A lookup that was cut off says less than the one before.
            if last.is_none() || !matches!(result, Err(DiscoverError::TimedOut { .. })) {
                last = Some((attempts, result));
            }
            match last {
                Some(last) if end.is_over() => return last,
                _ => sleep(RETRY_INTERVAL.min(end.remaining())).await,
            }
        }
    }
}

// === impl Discover ===

options!(Discover);

impl Discover {
    /// Sends the lookup and returns the outcome of each strategy as well. The lookup bypasses the
    /// cache.
    pub async fn explain(self) -> Explanation {
        self.0.explain().await
    }

    /// Repeats the lookup for at most this time until an instance is ready: passing, in warning, or
    /// not checked at all. The lookup bypasses the cache.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.0.options.wait = Some(wait);
        self
    }
}

impl IntoFuture for Discover {
    type Output = Result<Discovered, DiscoverError>;
    type IntoFuture = DiscoverFuture;

    fn into_future(self) -> DiscoverFuture {
        DiscoverFuture { lookup: Some(self.0), asking: None }
    }
}

// === impl DiscoverFuture ===

impl Future for DiscoverFuture {
    type Output = Result<Discovered, DiscoverError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(found) = self.lookup.as_ref().and_then(Lookup::cached) {
            return Poll::Ready(Ok(found));
        }
        if let Some(lookup) = self.lookup.take() {
            self.asking = Some(lookup.one().boxed());
        }
        match &mut self.asking {
            Some(asking) => asking.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for DiscoverFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoverFuture").finish_non_exhaustive()
    }
}

// === impl DiscoverAll ===

options!(DiscoverAll);

impl DiscoverAll {
    /// Sends the lookup and returns the outcome of each strategy as well. The lookup bypasses the
    /// cache.
    pub async fn explain(self) -> Explanation<Vec<ServiceEndpoint>> {
        self.0.explain_all().await
    }
}

impl IntoFuture for DiscoverAll {
    type Output = Result<Vec<ServiceEndpoint>, DiscoverError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.0.all().boxed()
    }
}

//! The request builders of the client: one lookup with its options.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::name::InvalidName;
use portolan_core::{ServiceEndpoint, ServiceName};
use tokio_util::sync::DropGuard;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::cached_resolver::CachedResolver;
use crate::discovered::{Discovered, Explanation};
use crate::error::DiscoverError;
use crate::options::LookupOptions;

/// A lookup of one instance; `await` it.
#[must_use = "a lookup does nothing unless it is awaited"]
#[derive(Clone)]
pub struct Discover(Lookup);

/// A lookup of every instance; `await` it.
#[must_use = "a lookup does nothing unless it is awaited"]
#[derive(Clone)]
pub struct DiscoverAll(Lookup);

/// A name as a caller gives it: a text, which is parsed once, or a [`ServiceName`].
pub trait ToServiceName {
    /// Returns the name, or why the text is not a name.
    fn to_service_name(&self) -> Result<ServiceName, InvalidName>;
}

/// A lookup that is not sent yet. It keeps the client alive.
#[derive(Clone)]
pub(crate) struct Lookup {
    pub(crate) resolver: CachedResolver,
    pub(crate) _guard: Arc<DropGuard>,
    pub(crate) name: Result<ServiceName, InvalidName>,
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
    pub(crate) async fn one(self) -> Result<Discovered, DiscoverError> {
        self.resolver.find_one(self.name?, &self.options).await
    }

    pub(crate) async fn all(self) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
        self.resolver.find_all(self.name?, &self.options).await
    }

    pub(crate) async fn explain(self) -> Explanation {
        match self.name {
            Ok(name) => {
                let (attempts, result) = self.resolver.explain(name.clone(), &self.options).await;
                Explanation { name: Some(name), attempts, result }
            }
            Err(error) => {
                let result = Err(DiscoverError::InvalidName(error));
                Explanation { name: None, attempts: Vec::new(), result }
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
}

impl IntoFuture for Discover {
    type Output = Result<Discovered, DiscoverError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.0.one().boxed()
    }
}

// === impl DiscoverAll ===

options!(DiscoverAll);

impl IntoFuture for DiscoverAll {
    type Output = Result<Vec<ServiceEndpoint>, DiscoverError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.0.all().boxed()
    }
}

// === impl ToServiceName ===

impl ToServiceName for str {
    fn to_service_name(&self) -> Result<ServiceName, InvalidName> {
        self.parse()
    }
}

impl ToServiceName for String {
    fn to_service_name(&self) -> Result<ServiceName, InvalidName> {
        self.parse()
    }
}

impl ToServiceName for ServiceName {
    fn to_service_name(&self) -> Result<ServiceName, InvalidName> {
        Ok(self.clone())
    }
}

impl<T: ToServiceName + ?Sized> ToServiceName for &T {
    fn to_service_name(&self) -> Result<ServiceName, InvalidName> {
        (**self).to_service_name()
    }
}

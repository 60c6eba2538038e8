//! One discovery, as the caller words it.

use std::fmt;
use std::future::IntoFuture;
use std::ops::Deref;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::ServiceEndpoint;

use crate::strategy::{StrategyName, UnknownStrategy};
use crate::{DiscoverError, DiscoveryClient, Explanation};

/// An instance that was found. It can be used as the [`ServiceEndpoint`] that it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovered {
    /// The instance.
    pub endpoint: ServiceEndpoint,
    /// Who found it.
    pub strategy: StrategyName,
    /// Whether it is older than the cache's TTL, and served because nobody could be asked.
    pub stale: bool,
}

/// A discovery of one instance; `await` it.
#[must_use = "nothing is asked until it is awaited"]
#[derive(Clone)]
pub struct Discover(Asking);

/// A discovery of every instance; `await` it.
#[must_use = "nothing is asked until it is awaited"]
#[derive(Clone)]
pub struct DiscoverAll(Asking);

#[derive(Clone)]
struct Asking {
    client: DiscoveryClient,
    name: String,
    options: Options,
}

/// What the caller wants other than configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: Option<u32>,
    pub(crate) strategies: Option<Result<Vec<StrategyName>, UnknownStrategy>>,
}

macro_rules! options {
    ($type:ident) => {
        impl $type {
            pub(crate) fn new(client: DiscoveryClient, name: &str) -> Self {
                let name = name.to_owned();
                Self(Asking { client, name, options: Options::default() })
            }

            /// How long all strategies together may take, instead of `discovery.timeouts.overall`.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.0.options.timeout = Some(timeout);
                self
            }

            /// How often to ask again who cannot be reached, instead of `discovery.retries`.
            pub fn retries(mut self, retries: u32) -> Self {
                self.0.options.retries = Some(retries);
                self
            }

            /// Whom to ask, in this order, instead of `discovery.strategies`. The cache is passed by.
            pub fn strategies<I>(mut self, strategies: I) -> Self
            where
                I: IntoIterator<Item: AsRef<str>>,
            {
                self.0.options.ask(strategies);
                self
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Asking { name, options, .. } = &self.0;
                f.debug_tuple(stringify!($type)).field(name).field(options).finish()
            }
        }
    };
}

// === impl Options ===

impl Options {
    /// Whom to ask, in this order.
    pub(crate) fn ask<I: IntoIterator<Item: AsRef<str>>>(&mut self, strategies: I) {
        let parsed = strategies.into_iter().map(|name| name.as_ref().parse());
        self.strategies = Some(parsed.collect());
    }

    /// Whom to ask; as configured where the caller does not say.
    pub(crate) fn strategies(&self) -> Result<Option<Vec<StrategyName>>, UnknownStrategy> {
        self.strategies.clone().transpose()
    }
}

// === impl Discover ===

options!(Discover);

impl Discover {
    /// Finds it, and tells what each strategy answered. The cache is passed by.
    pub async fn explain(self) -> Explanation {
        let Asking { client, name, options } = self.0;
        client.explain(&name, &options).await
    }
}

impl IntoFuture for Discover {
    type Output = Result<Discovered, DiscoverError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Asking { client, name, options } = self.0;
        async move { client.find_one(&name, &options).await }.boxed()
    }
}

// === impl DiscoverAll ===

options!(DiscoverAll);

impl IntoFuture for DiscoverAll {
    type Output = Result<Vec<ServiceEndpoint>, DiscoverError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Asking { client, name, options } = self.0;
        async move { client.find_all(&name, &options).await }.boxed()
    }
}

// === impl Discovered ===

impl Deref for Discovered {
    type Target = ServiceEndpoint;
    fn deref(&self) -> &ServiceEndpoint {
        &self.endpoint
    }
}

impl From<Discovered> for ServiceEndpoint {
    fn from(discovered: Discovered) -> Self {
        discovered.endpoint
    }
}

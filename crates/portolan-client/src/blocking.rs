//! A blocking client, for programs without an async runtime.
//!
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use portolan_client::blocking::DiscoveryClient;
//!
//! let client: DiscoveryClient = DiscoveryClient::builder().build_blocking()?;
//! let postgres = client.discover("postgres-primary")?;
//! println!("PostgreSQL is at {}", postgres.address());
//! # Ok(()) }
//! ```

mod runtime_thread;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use portolan_core::{Remedy, ServiceEndpoint, ServiceEvent};

use crate::builder::DiscoveryClientBuilder;
use crate::config::InvalidDiscovery;
use crate::discover::Lookup;
use crate::discovered::{Discovered, Explanation};
use crate::error::DiscoverError;
use crate::given_name::ToServiceName;
use crate::reservations::{HostDefaults, UnknownHost};

use runtime_thread::RuntimeThread;

/// Finds services by name. Clones share everything.
pub struct DiscoveryClient<H = UnknownHost> {
    client: crate::client::DiscoveryClient<H>,
    thread: Arc<RuntimeThread>,
}

/// Why a blocking client could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting is not valid. Retrying does not help.
    #[error(transparent)]
    Settings(#[from] InvalidDiscovery),
    /// The system has no thread or file descriptor left. Retrying may help later.
    #[error("cannot start the client's runtime thread: {0}")]
    Thread(#[source] io::Error),
}

/// A lookup with its options.
#[must_use = "a lookup does nothing unless it is sent"]
pub struct DiscoverRequest<'a> {
    thread: &'a RuntimeThread,
    lookup: Lookup,
}

/// An iterator over the changes of a service, which blocks until the next change.
pub struct ServiceWatch {
    stream: Arc<tokio::sync::Mutex<crate::watch::ServiceWatch>>,
    thread: Arc<RuntimeThread>,
}

// === impl DiscoveryClient ===

impl<H: HostDefaults> DiscoveryClient<H> {
    /// Returns a builder; [`DiscoveryClientBuilder::build_blocking`] builds the client.
    pub fn builder() -> DiscoveryClientBuilder<H> {
        DiscoveryClientBuilder::default()
    }
}

impl<H> DiscoveryClient<H> {
    /// Looks up one instance, selected as by
    /// [`DiscoveryClient::discover`](crate::DiscoveryClient::discover).
    pub fn discover<N: ToServiceName + ?Sized>(
        &self,
        name: &N,
    ) -> Result<Discovered, DiscoverError> {
        self.request(name).one()
    }

    /// Looks up every instance, the best first.
    pub fn discover_all<N: ToServiceName + ?Sized>(
        &self,
        name: &N,
    ) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
        self.request(name).all()
    }

    /// Returns a lookup with options.
    pub fn request<N: ToServiceName + ?Sized>(&self, name: &N) -> DiscoverRequest<'_> {
        DiscoverRequest { thread: &self.thread, lookup: self.client.lookup(name) }
    }

    /// Watches the instances of a service: a snapshot, then each change once and in order.
    pub fn watch<N: ToServiceName + ?Sized>(&self, name: &N) -> Result<ServiceWatch, DiscoverError>
    where
        H: 'static,
    {
        let (client, name) = (self.client.clone(), name.to_service_name()?);
        let stream = self.thread.wait(async move { client.watch(&name).await })??;
        let (stream, thread) =
            (Arc::new(tokio::sync::Mutex::new(stream)), Arc::clone(&self.thread));
        Ok(ServiceWatch { stream, thread })
    }

    /// Reports that connecting to an instance failed, as
    /// [`DiscoveryClient::report_failure`](crate::DiscoveryClient::report_failure).
    pub fn report_failure(&self, endpoint: &ServiceEndpoint) {
        self.thread.enter(|| self.client.report_failure(endpoint));
    }

    /// Ends every watch, every task and the client's thread, and waits for them.
    pub fn close(&self)
    where
        H: 'static,
    {
        let client = self.client.clone();
        // If the client was closed before, nothing is left to close.
        let _ = self.thread.wait(async move { client.close().await });
        self.thread.stop();
    }
}

impl<H> Clone for DiscoveryClient<H> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), thread: Arc::clone(&self.thread) }
    }
}

impl<H> fmt::Debug for DiscoveryClient<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

// === impl DiscoveryClientBuilder ===

impl<H> DiscoveryClientBuilder<H> {
    /// Builds a client for a program without an async runtime, with a thread of its own.
    pub fn build_blocking(self) -> Result<DiscoveryClient<H>, BuildError> {
        let client = self.build()?;
        let thread = Arc::new(RuntimeThread::start().map_err(BuildError::Thread)?);
        Ok(DiscoveryClient { client, thread })
    }
}

// === impl BuildError ===

impl Remedy for BuildError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Settings(error) => error.remedy(),
            Self::Thread(_) => Some("free some threads or file descriptors".into()),
        }
    }
}

// === impl DiscoverRequest ===

impl DiscoverRequest<'_> {
    /// Sets how long all strategies together may take, instead of `discovery.timeouts.overall`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.lookup.options.timeout = Some(timeout);
        self
    }

    /// Sets how often a strategy is asked again, instead of `discovery.retries`.
    pub fn retries(mut self, retries: u32) -> Self {
        self.lookup.options.retries = Some(retries);
        self
    }

    /// Sets the strategies in order, instead of `discovery.strategies`. The lookup bypasses the
    /// cache.
    pub fn strategies<I: IntoIterator<Item: AsRef<str>>>(mut self, strategies: I) -> Self {
        self.lookup.options.set_strategies(strategies);
        self
    }

    /// Repeats the lookup of one instance for at most this time until it is ready. The lookup bypasses
    /// the cache.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.lookup.options.wait = Some(wait);
        self
    }

    /// Looks up one instance.
    pub fn one(self) -> Result<Discovered, DiscoverError> {
        match self.lookup.cached() {
            Some(found) => Ok(found),
            None => self.thread.wait(self.lookup.one())?,
        }
    }

    /// Looks up every instance, the best first.
    pub fn all(self) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
        self.thread.wait(self.lookup.all())?
    }

    /// Looks up one instance and returns the outcome of each strategy as well. The lookup bypasses
    /// the cache.
    pub fn explain(self) -> Result<Explanation, DiscoverError> {
        self.thread.wait(self.lookup.explain())
    }

    /// Does the same for every instance, the best first.
    pub fn explain_all(self) -> Result<Explanation<Vec<ServiceEndpoint>>, DiscoverError> {
        self.thread.wait(self.lookup.explain_all())
    }
}

impl fmt::Debug for DiscoverRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lookup { name, options, .. } = &self.lookup;
        f.debug_tuple("DiscoverRequest").field(name).field(options).finish()
    }
}

// === impl ServiceWatch ===

impl Iterator for ServiceWatch {
    type Item = ServiceEvent;

    fn next(&mut self) -> Option<ServiceEvent> {
        let stream = Arc::clone(&self.stream);
        self.thread.wait(async move { stream.lock().await.next().await }).ok().flatten()
    }
}

impl fmt::Debug for ServiceWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceWatch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

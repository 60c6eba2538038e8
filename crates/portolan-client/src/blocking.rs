//! The same client for programs without a runtime: every call waits for its answer.
//!
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use portolan_client::blocking::DiscoveryClient;
//!
//! let client = DiscoveryClient::builder().build_blocking()?;
//! let postgres = client.discover("postgres-primary")?;
//! println!("PostgreSQL is at {}", postgres.address());
//! # Ok(()) }
//! ```

use std::fmt;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use portolan_core::{ServiceEndpoint, ServiceEvent};
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

use crate::discover::Options;
use crate::{DiscoverError, Discovered, DiscoveryClientBuilder, Explanation, InvalidDiscovery};

/// Finds services by name. Clones share everything.
#[derive(Clone)]
pub struct DiscoveryClient {
    client: crate::DiscoveryClient,
    thread: Arc<Thread>,
}

/// Why a blocking client could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The settings. Retrying does not help.
    #[error(transparent)]
    Settings(#[from] InvalidDiscovery),
    /// The system has no thread or no descriptors left. Retrying may help, later.
    #[error("cannot start the client's own thread: {0}; free some threads or file descriptors")]
    Thread(#[source] io::Error),
}

/// A discovery with a time limit, retries or strategies of its own.
#[must_use = "nothing is asked until it is sent"]
#[derive(Debug)]
pub struct Request<'a> {
    client: &'a DiscoveryClient,
    name: String,
    options: Options,
}

/// The changes of a service; each step waits for the next one.
pub struct ServiceWatch {
    stream: Arc<tokio::sync::Mutex<crate::ServiceWatch>>,
    thread: Arc<Thread>,
}

/// A thread that drives the client's own runtime, so that its background work goes on between calls.
struct Thread {
    handle: Handle,
    /// Ends the thread when it is dropped.
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

// === impl DiscoveryClient ===

impl DiscoveryClient {
    /// Puts a client together; [`DiscoveryClientBuilder::build_blocking`] makes it.
    pub fn builder() -> DiscoveryClientBuilder {
        DiscoveryClientBuilder::default()
    }

    pub(crate) fn of(client: crate::DiscoveryClient) -> Result<Self, BuildError> {
        let thread = Arc::new(Thread::start().map_err(BuildError::Thread)?);
        Ok(Self { client, thread })
    }

    /// Finds one instance: of the own scope before `default`, well before ill, in turn among equals.
    pub fn discover(&self, name: &str) -> Result<Discovered, DiscoverError> {
        self.request(name).one()
    }

    /// Finds every instance, the best first.
    pub fn discover_all(&self, name: &str) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
        self.request(name).all()
    }

    /// A discovery that differs from what is configured.
    pub fn request(&self, name: &str) -> Request<'_> {
        Request { client: self, name: name.to_owned(), options: Options::default() }
    }

    /// The instances of a service and their changes, beginning with a snapshot.
    pub fn watch(&self, name: &str) -> Result<ServiceWatch, DiscoverError> {
        let (client, name) = (self.client.clone(), name.to_owned());
        let stream = self.thread.wait(async move { client.watch(&name).await })??;
        let (stream, thread) =
            (Arc::new(tokio::sync::Mutex::new(stream)), Arc::clone(&self.thread));
        Ok(ServiceWatch { stream, thread })
    }

    /// The caller could not connect to this instance: it goes last for a while.
    pub fn report_failure(&self, endpoint: &ServiceEndpoint) {
        self.client.report_failure(endpoint);
    }

    /// Ends every watch and every task, and the client's thread, and waits for them.
    pub fn close(&self) {
        let client = self.client.clone();
        // Where it was closed before, there is nothing left to close.
        let _ = self.thread.wait(async move { client.close().await });
        self.thread.stop();
    }
}

impl fmt::Debug for DiscoveryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

// === impl Request ===

impl Request<'_> {
    /// How long all strategies together may take, instead of `discovery.timeouts.overall`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// How often to ask again who cannot be reached, instead of `discovery.retries`.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = Some(retries);
        self
    }

    /// Whom to ask, in this order, instead of `discovery.strategies`. The cache is passed by.
    pub fn strategies<I: IntoIterator<Item: AsRef<str>>>(mut self, strategies: I) -> Self {
        self.options.ask(strategies);
        self
    }

    /// Finds one instance.
    pub fn one(self) -> Result<Discovered, DiscoverError> {
        let (client, name, options) = (self.client.client.clone(), self.name, self.options);
        self.client.thread.wait(async move { client.find_one(&name, &options).await })?
    }

    /// Finds every instance, the best first.
    pub fn all(self) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
        let (client, name, options) = (self.client.client.clone(), self.name, self.options);
        self.client.thread.wait(async move { client.find_all(&name, &options).await })?
    }

    /// Finds one instance, and tells what each strategy answered. The cache is passed by.
    pub fn explain(self) -> Result<Explanation, DiscoverError> {
        let (client, name, options) = (self.client.client.clone(), self.name, self.options);
        self.client.thread.wait(async move { client.explain(&name, &options).await })
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

// === impl Thread ===

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let join = thread::Builder::new().name("portolan-client".to_owned()).spawn(move || {
            // Sent or dropped, it is the end.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, running: Mutex::new(Some((stop, join))) })
    }

    /// Does the work on the thread, so that a caller within a runtime of its own can wait too.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, DiscoverError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        // Its end is waited for below; a runtime that is gone drops it, and the sender with it.
        self.handle.spawn(async move { drop(sender.send(work.await)) });
        receiver.recv().map_err(|_| DiscoverError::Closed)
    }

    fn stop(&self) {
        let Some((stop, join)) = self.running.lock().take() else { return };
        drop(stop);
        // A thread that panicked has ended too; and it cannot wait for itself.
        if join.thread().id() != thread::current().id() {
            let _ = join.join();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;

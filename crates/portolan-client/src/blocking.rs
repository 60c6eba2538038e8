//! The same client for programs without a runtime: every call waits for its answer.
//!
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use portolan_client::blocking::DiscoveryClient;
//!
//! let client = DiscoveryClient::builder().build_blocking()?;
//! let postgres = client.discover("postgres-primary").send()?;
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

use crate::{
    DiscoverError, Discovered, DiscoveryClientBuilder, Explanation, InvalidDiscovery, discover,
};

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

/// A discovery of one instance, sent by [`Discover::send`].
#[must_use = "nothing is asked until it is sent"]
#[derive(Debug)]
pub struct Discover<'a> {
    client: &'a DiscoveryClient,
    asking: discover::Discover,
}

/// A discovery of every instance, sent by [`DiscoverAll::send`].
#[must_use = "nothing is asked until it is sent"]
#[derive(Debug)]
pub struct DiscoverAll<'a> {
    client: &'a DiscoveryClient,
    asking: discover::DiscoverAll,
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

    /// Finds one instance.
    pub fn discover(&self, name: &str) -> Discover<'_> {
        Discover { client: self, asking: self.client.discover(name) }
    }

    /// Finds every instance, the best first.
    pub fn discover_all(&self, name: &str) -> DiscoverAll<'_> {
        DiscoverAll { client: self, asking: self.client.discover_all(name) }
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

macro_rules! options {
    ($type:ident) => {
        impl $type<'_> {
            /// How long all strategies together may take, instead of
            /// `discovery.timeouts.overall`.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.asking = self.asking.timeout(timeout);
                self
            }

            /// How often to ask again who cannot be reached, instead of `discovery.retries`.
            pub fn retries(mut self, retries: u32) -> Self {
                self.asking = self.asking.retries(retries);
                self
            }

            /// Whom to ask, in this order, instead of `discovery.strategies`.
            pub fn strategies<I: IntoIterator<Item: AsRef<str>>>(mut self, strategies: I) -> Self {
                self.asking = self.asking.strategies(strategies);
                self
            }
        }
    };
}

// === impl Discover ===

options!(Discover);

impl Discover<'_> {
    /// Asks, and waits for the answer.
    pub fn send(self) -> Result<Discovered, DiscoverError> {
        self.client.thread.wait(self.asking.into_future())?
    }

    /// Asks, and tells what each strategy answered.
    pub fn explain(self) -> Result<Explanation, DiscoverError> {
        self.client.thread.wait(self.asking.explain())
    }
}

// === impl DiscoverAll ===

options!(DiscoverAll);

impl DiscoverAll<'_> {
    /// Asks, and waits for the answer.
    pub fn send(self) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
        self.client.thread.wait(self.asking.into_future())?
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

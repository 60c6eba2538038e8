//! The store `memory`: a map in this process, with a timer queue that ends leases.
//!
//! Nothing is persisted: after a restart, a heartbeat for an unknown instance makes its service
//! register again. Revisions grow over restarts too, because they begin at the time of day in
//! milliseconds, shifted by more than the changes of a millisecond. If the clock was set back across
//! a restart, they fall; a watch that resumes from a revision of the future then gets a snapshot.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_core::Revision;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{debug, warn};

use super::{Feed, Receipt, Store, StoreKind};
use crate::members::{Membership, ServerId};
use crate::{
    Command, CommandOrigin, InvalidRegistryConfig, Recorder, RegistryConfig, StorageBackend,
};
use feed::MemoryFeed;
use state::State;

mod feed;
mod index;
mod state;

/// The row of this store.
pub(super) const KIND: StoreKind = StoreKind {
    backend: StorageBackend::Memory,
    open: |config| {
        let store = Memory::new(config)?;
        let feed = store.feed();
        Ok((Arc::new(store), feed))
    },
};

/// The number of revisions in a millisecond. A store that restarts continues above its earlier
/// revisions unless it made more than a million changes a second.
const REVISIONS_PER_MILLISECOND: u64 = 1024;

/// Keeps endpoints in this process.
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Shared>,
    server: ServerId,
}

/// What all servers over the same endpoints share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    servers: watch::Sender<BTreeSet<ServerId>>,
    next_server: AtomicU64,
    /// Held by the server that maintains the store.
    maintenance: tokio::sync::Mutex<()>,
    cleanup_interval: Duration,
}

// === impl Memory ===

impl Memory {
    /// Creates an empty store.
    ///
    /// # Errors
    ///
    /// If a setting is out of bounds.
    pub fn new(config: &RegistryConfig) -> Result<Self, InvalidRegistryConfig> {
        Self::started(config, Timestamp::now())
    }

    /// Creates an empty store whose revisions begin at this time.
    pub(crate) fn started(
        config: &RegistryConfig,
        at: Timestamp,
    ) -> Result<Self, InvalidRegistryConfig> {
        config.validate()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(config, first_revision(at))?),
            servers: watch::Sender::new(BTreeSet::new()),
            next_server: AtomicU64::new(0),
            maintenance: tokio::sync::Mutex::new(()),
            cleanup_interval: config.cleanup_interval,
        });
        Ok(Self::server(shared))
    }

    /// Adds a server over the same endpoints.
    #[must_use]
    pub fn join(&self) -> Self {
        Self::server(Arc::clone(&self.shared))
    }

    fn server(shared: Arc<Shared>) -> Self {
        let server = ServerId(shared.next_server.fetch_add(1, Ordering::Relaxed));
        shared.servers.send_modify(|servers| _ = servers.insert(server));
        Self { shared, server }
    }

    /// Opens a feed of this store.
    pub fn feed(&self) -> Box<dyn Feed> {
        Box::new(MemoryFeed::open(Arc::clone(&self.shared)))
    }

    /// Ends the leases that the timer queue missed, and returns their number.
    fn sweep(&self, recorder: &Recorder) -> usize {
        let overdue = self.shared.state.lock().expire_overdue(Instant::now());
        overdue.iter().for_each(|(endpoint, revision)| recorder.expired(endpoint, *revision));
        overdue.len()
    }

    fn poll_expired(&self, context: &mut Context<'_>, recorder: &Recorder) -> Poll<()> {
        let expired = self.shared.state.lock().poll_expired(context);
        expired.map(|expired| {
            expired.iter().for_each(|(endpoint, revision)| recorder.expired(endpoint, *revision));
        })
    }
}

impl Store for Memory {
    fn name(&self) -> &'static str {
        StorageBackend::Memory.as_str()
    }

    fn commit<'a>(
        &'a self,
        commands: &'a [Command],
        origin: CommandOrigin,
    ) -> BoxFuture<'a, Receipt> {
        async move {
            let mut state = self.shared.state.lock();
            let outcomes = commands.iter().map(|command| state.commit(command, origin)).collect();
            Receipt { outcomes, index: state.index() }
        }
        .boxed()
    }

    fn is_persistent(&self) -> bool {
        false
    }

    fn membership(&self) -> Membership {
        Membership::new(self.server, self.shared.servers.subscribe())
    }

    fn maintain(&self, recorder: Recorder) -> BoxFuture<'_, ()> {
        async move {
            // One server at a time; if it ends, another one takes over.
            let _leader = self.shared.maintenance.lock().await;
            let interval = self.shared.cleanup_interval;
            let mut cleanup = interval_at(Instant::now() + interval, interval);
            cleanup.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = poll_fn(|context| self.poll_expired(context, &recorder)) => {}
                    _ = cleanup.tick() => match self.sweep(&recorder) {
                        0 => debug!("Lease scan found no overdue lease"),
                        overdue => warn!(overdue, "Lease scan ended overdue leases"),
                    },
                }
            }
        }
        .boxed()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.shared.servers.send_modify(|servers| _ = servers.remove(&self.server));
    }
}

/// The first revision of a store that starts at this time.
fn first_revision(now: Timestamp) -> Revision {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Revision(millis.saturating_mul(REVISIONS_PER_MILLISECOND))
}

#[cfg(test)]
mod tests;

//! The store `memory`: a map in this process, with a timer queue that ends leases.
//!
//! With a data directory every change is in a [`journal`] on the disk before it is acknowledged. Without one
//! nothing is written: after a restart, a heartbeat for an unknown instance makes its service register again.
//! Revisions grow over restarts too, because they begin at the time of day in
//! milliseconds, shifted by more than the changes of a millisecond. If the clock was set back across
//! a restart, they fall; a watch that resumes from a revision of the future then gets a snapshot.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};
use portolan_core::{Revision, ServiceId, Ttl};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::{debug, warn};

use super::{Feed, OpenError, ReadOnly, Receipt, SettingsStore, Store, StoreKind};
use crate::members::{LiveServers, Membership, ServerId};
use crate::{
    Command, CommandOrigin, InvalidRegistryConfig, Recorder, RegistryConfig, RegistryError,
};
use data_dir::DataDir;
use feed::MemoryFeed;
use journal::record::Snapshot;
use journal::recovery::recover;
use journal::writer::{JOURNAL, WriterThread};
use journal::{log_recovery, open_writer};
use outbox::{Batch, Durability};
use state::State;

mod data_dir;
mod error;
mod exposure;
mod feed;
mod inspect;
mod journal;
mod outbox;
mod settings;
mod state;

pub use error::DataDirError;

/// The row of this store.
pub(super) const KIND: StoreKind = StoreKind {
    name: NAME,
    validate: |_| Ok(()),
    open: |config| {
        let store = Memory::open(config)?;
        let feed = store.feed();
        Ok((Arc::new(store), feed))
    },
    inspect: inspect::inspect,
};

const NAME: &str = "memory";

/// The number of revisions in a millisecond. A store that restarts continues above its earlier
/// revisions unless it made more than a million changes a second.
const REVISIONS_PER_MILLISECOND: u64 = 1024;

/// How long a lease lasts at least after a time in which no server ran, unless its TTL is shorter: the time of an
/// agent to reconnect.
const RECONNECT: Duration = Duration::from_secs(10);

/// How often the maintenance looks at the clock, to find out that the process was stopped or the machine suspended.
const WATCHDOG: Duration = Duration::from_millis(500);

/// Keeps endpoints in this process, and in a data directory if one is configured.
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Shared>,
    server: ServerId,
    /// The journal, if there is a data directory.
    writer: Option<Arc<WriterThread>>,
    /// Whether the state of an earlier server was recovered.
    recovered: bool,
}

/// What all servers over the same endpoints share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Tells the writer of the journal that the outbox has something for it.
    outbox: Condvar,
    servers: watch::Sender<LiveServers>,
    /// Why writes are rejected, if they are.
    read_only: watch::Sender<Option<Arc<str>>>,
    next_server: AtomicU64,
    /// Held by the server that maintains the store.
    maintenance: tokio::sync::Mutex<()>,
    cleanup_interval: watch::Sender<Duration>,
}

// === impl Memory ===

impl Memory {
    /// Creates an empty store in this process alone. It does not use `data_dir`.
    ///
    /// # Errors
    ///
    /// If a setting is out of bounds.
    pub fn new(config: &RegistryConfig) -> Result<Self, InvalidRegistryConfig> {
        Self::started(config, Timestamp::now())
    }

    /// Opens the store in `data_dir`, or creates an empty one in this process alone if that is not set. Must be
    /// called in a Tokio runtime. The directory is locked until the store is dropped.
    ///
    /// # Errors
    ///
    /// If a setting is out of bounds, or the directory is in use, damaged or not accessible.
    pub fn open(config: &RegistryConfig) -> Result<Self, OpenError> {
        Self::open_with(config, JOURNAL)
    }

    /// Opens the store with this length of a journal, from which a snapshot is written.
    fn open_with(config: &RegistryConfig, journal: u64) -> Result<Self, OpenError> {
        let Some(path) = &config.data_dir else { return Ok(Self::new(config)?) };
        config.validate()?;
        let dir = Arc::new(DataDir::lock(path)?);
        let at = Timestamp::now();
        let mut recovered = recover(&dir, config.history)?;
        let existed = recovered.journal.is_some();
        log_recovery(&dir, &recovered);
        let revision = first_revision(at).max(Revision(recovered.revision.0 + 1));
        recovered.start(at, revision);
        let (durability, writer) = open_writer(dir, &recovered)?;
        let writer = writer.rotate_at(journal);
        let mut state = State::new(config, revision)?;
        state.restore(recovered, durability);
        let mut store = Self::server(Self::shared(config, state));
        let thread = WriterThread::spawn(writer, Arc::clone(&store.shared));
        let thread =
            thread.map_err(|source| DataDirError::io("start the writer of", path, source))?;
        (store.writer, store.recovered) = (Some(Arc::new(thread)), existed);
        Ok(store)
    }

    /// Creates an empty store whose revisions begin at this time.
    pub(crate) fn started(
        config: &RegistryConfig,
        at: Timestamp,
    ) -> Result<Self, InvalidRegistryConfig> {
        config.validate()?;
        Ok(Self::server(Self::shared(config, State::new(config, first_revision(at))?)))
    }

    /// Adds a server over the same endpoints.
    #[must_use]
    pub fn join(&self) -> Self {
        let mut joined = Self::server(Arc::clone(&self.shared));
        (joined.writer, joined.recovered) = (self.writer.clone(), self.recovered);
        joined
    }

    fn shared(config: &RegistryConfig, mut state: State) -> Arc<Shared> {
        Arc::new(Shared {
            read_only: watch::Sender::new(state.outbox().read_only()),
            state: Mutex::new(state),
            outbox: Condvar::new(),
            servers: watch::Sender::new(LiveServers::new()),
            next_server: AtomicU64::new(0),
            maintenance: tokio::sync::Mutex::new(()),
            cleanup_interval: watch::Sender::new(config.cleanup_interval),
        })
    }

    fn server(shared: Arc<Shared>) -> Self {
        let server = ServerId(shared.next_server.fetch_add(1, Ordering::Relaxed));
        shared.servers.send_modify(|servers| _ = servers.insert(server, None));
        Self { shared, server, writer: None, recovered: false }
    }

    /// Opens a feed of this store.
    pub fn feed(&self) -> Box<dyn Feed> {
        Box::new(MemoryFeed::open(Arc::clone(&self.shared)))
    }

    /// The revision of the last change.
    #[cfg(test)]
    fn revision(&self) -> Revision {
        self.shared.state.lock().revision()
    }

    /// Ends the leases that the timer queue missed, and returns their number.
    fn sweep(&self, recorder: &Recorder) -> usize {
        let overdue = self.shared.change(|state| state.expire_overdue(Instant::now()));
        overdue.iter().for_each(|(endpoint, revision)| recorder.expired(endpoint, *revision));
        overdue.len()
    }

    fn poll_expired(&self, context: &mut Context<'_>, recorder: &Recorder) -> Poll<()> {
        let expired = self.shared.change(|state| state.poll_expired(context));
        expired.map(|expired| {
            expired.iter().for_each(|(endpoint, revision)| recorder.expired(endpoint, *revision));
        })
    }
}

impl Store for Memory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn commit<'a>(
        &'a self,
        commands: &'a [Command],
        origin: &'a CommandOrigin,
    ) -> BoxFuture<'a, Receipt> {
        async move {
            let (ack, acked) = oneshot::channel();
            let (outcomes, index, ack) = self.shared.change(|state| {
                let outcomes: Vec<_> =
                    commands.iter().map(|command| state.commit(command, origin)).collect();
                (outcomes, state.index(), state.wait_until_final(ack))
            });
            let stored = match ack {
                Some(_) => Ok(()),
                None => acked.await.unwrap_or(Err(RegistryError::Closed)),
            };
            match stored {
                Ok(()) => Receipt { outcomes, index },
                Err(error) => {
                    let outcomes = outcomes.into_iter();
                    let outcomes = outcomes.map(|outcome| outcome.and(Err(error.clone())));
                    Receipt { outcomes: outcomes.collect(), index: 0 }
                }
            }
        }
        .boxed()
    }

    fn registrant(&self, id: &ServiceId) -> Option<IpAddr> {
        self.shared.state.lock().registrant(id)
    }

    fn is_heartbeat_late(&self, id: &ServiceId) -> bool {
        self.shared.state.lock().is_heartbeat_late(id, Instant::now())
    }

    fn settings(&self) -> Option<&dyn SettingsStore> {
        Some(self)
    }

    fn has_former_state(&self) -> bool {
        self.recovered
    }

    fn read_only(&self) -> ReadOnly {
        self.shared.read_only.subscribe()
    }

    fn membership(&self) -> Membership {
        Membership::new(self.server, self.shared.servers.subscribe())
    }

    fn maintain(&self, recorder: Recorder) -> BoxFuture<'_, ()> {
        async move {
            // One server at a time; if it ends, another one takes over.
            let _leader = self.shared.maintenance.lock().await;
            self.shared.change(|state| state.begin_maintenance(Instant::now()));
            let mut watchdog = tokio::time::interval(WATCHDOG);
            watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut interval = self.shared.cleanup_interval.subscribe();
            let mut cleanup = cleanups(*interval.borrow_and_update());
            loop {
                recorder.protected(self.shared.state.lock().protected());
                tokio::select! {
                    () = poll_fn(|context| self.poll_expired(context, &recorder)) => {}
                    // The leases are polled at each turn, which shows how long this process did not run.
                    _ = watchdog.tick() => {}
                    Ok(()) = interval.changed() => cleanup = cleanups(*interval.borrow_and_update()),
                    _ = cleanup.tick() => match self.sweep(&recorder) {
                        0 => debug!("Lease scan found no overdue lease"),
                        overdue => warn!(overdue, "Lease scan ended overdue leases"),
                    },
                }
            }
        }
        .boxed()
    }

    fn reconfigure(&self, config: &RegistryConfig) -> Result<(), InvalidRegistryConfig> {
        self.shared.change(|state| state.reconfigure(config))?;
        self.shared.cleanup_interval.send_if_modified(|interval| {
            std::mem::replace(interval, config.cleanup_interval) != config.cleanup_interval
        });
        Ok(())
    }
}

/// The times at which leases that were missed are looked for.
fn cleanups(every: Duration) -> Interval {
    let mut cleanups = interval_at(Instant::now() + every, every);
    cleanups.set_missed_tick_behavior(MissedTickBehavior::Delay);
    cleanups
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.shared.servers.send_modify(|servers| _ = servers.remove(&self.server));
    }
}

// === impl Shared ===

impl Shared {
    /// Changes the state, and wakes the writer of the journal if there is something for it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        if state.outbox().has_work() {
            self.outbox.notify_one();
        }
        result
    }

    // --- the writer's side

    /// Waits until the outbox has something, at most for so long, and takes it. `None` once the store is closed.
    fn wait_for_batch(&self, longest: Duration) -> Option<Batch> {
        let mut state = self.state.lock();
        let is_idle = |state: &mut State| !state.outbox().has_work() && !state.outbox().closed;
        self.outbox.wait_while_for(&mut state, is_idle, longest);
        let is_open = state.outbox().has_work() || !state.outbox().closed;
        is_open.then(|| state.take_batch())
    }

    /// Takes the outbox and the state that includes it.
    fn take_batch_and_state(&self) -> (Batch, Snapshot) {
        let mut state = self.state.lock();
        (state.take_batch(), state.snapshot())
    }

    fn confirm(&self, batch: Batch) {
        self.state.lock().confirm(&batch);
        batch.acks.into_iter().for_each(|ack| _ = ack.send(Ok(())));
    }

    fn revert(&self, batch: Batch, reason: &str) {
        // Before the callers learn that their commands were rejected.
        self.read_only.send_replace(Some(reason.into()));
        self.state.lock().revert(batch, reason);
    }

    fn stay_read_only(&self, reason: &str) {
        let mut state = self.state.lock();
        state.outbox().pending.records.clear();
        state.outbox().durability =
            Durability::ReadOnly { reason: reason.into(), recording: false };
        drop(state);
        self.tell();
    }

    /// Tells whether the store is read-only.
    fn tell(&self) {
        let reason = self.state.lock().outbox().read_only();
        self.read_only.send_replace(reason);
    }

    /// Returns the state, and records from here on what changes.
    fn record_from_here(&self) -> Snapshot {
        let mut state = self.state.lock();
        if let Durability::ReadOnly { recording, .. } = &mut state.outbox().durability {
            *recording = true;
        }
        state.snapshot()
    }

    fn accept_writes(&self) {
        self.state.lock().outbox().durability = Durability::Journal;
        self.tell();
    }

    /// Waits for so long. Returns whether the store is still open.
    fn is_open_after(&self, wait: Duration) -> bool {
        let mut state = self.state.lock();
        self.outbox.wait_while_for(&mut state, |state| !state.outbox().closed, wait);
        !state.outbox().closed
    }

    fn close(&self) {
        self.state.lock().outbox().closed = true;
        self.outbox.notify_one();
    }
}

/// How long a lease lasts from now, after a time in which no server ran and no heartbeat was heard: its end moves by
/// that time, up to its TTL. It has `left` to last without that, or ended a time `past`.
fn extension(ttl: Ttl, left: Duration, past: Duration, down: Duration) -> Duration {
    let ttl = ttl.duration();
    (left + down.min(ttl)).saturating_sub(past).max(RECONNECT.min(ttl))
}

/// The first revision of a store that starts at this time.
fn first_revision(now: Timestamp) -> Revision {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Revision(millis.saturating_mul(REVISIONS_PER_MILLISECOND))
}

#[cfg(test)]
mod tests;

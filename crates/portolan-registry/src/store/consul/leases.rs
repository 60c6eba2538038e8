//! Ends leases at their deadline.
//!
//! The server that received the last registration or heartbeat of an instance holds its lease: it has the timer, and a
//! heartbeat that arrives there writes nothing. A heartbeat that arrives at another server moves the lease there, by a
//! write that the timer of the former holder cannot miss: when it fires, the endpoint is removed only if its key was
//! not written since.
//!
//! A server ends the lease of one that is gone only if that is still gone at that moment; so one that comes back and
//! receives heartbeats loses nothing.

use std::future::poll_fn;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use portolan_consul::{ConsulSession, KvTransaction};
use portolan_core::ServiceId;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::warn;

use super::Shared;
use super::record::{ChangeValue, Removed};
use super::replica::Record;
use crate::Recorder;
use crate::store::remote::{KeptValue, OUTAGE, revision};

/// How many leases are ended at the same time.
const CONCURRENT: usize = 32;
/// How long a timer waits after the lease could not be ended.
const RETRY: Duration = Duration::from_millis(250);
/// How often it is checked whether this process was stopped.
const TICK: Duration = Duration::from_millis(500);

// === impl Shared ===

impl Shared {
    /// Ends leases, for ever.
    pub(super) async fn end_leases(&self, recorder: &Recorder) {
        let mut running = FuturesUnordered::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            recorder.protected(self.replica.lock().kept());
            let fired = poll_fn(|context| self.replica.lock().timers.poll_fired(context));
            tokio::select! {
                // Before the timers, which all fire at once after this process was stopped.
                biased;
                _ = ticks.tick() => {
                    let stopped = last.elapsed();
                    last = Instant::now();
                    if stopped > OUTAGE {
                        warn!(?stopped, "Server was stopped, leases extended");
                        self.replica.lock().extend_leases();
                    }
                }
                Some(()) = running.next() => {}
                id = fired, if running.len() < CONCURRENT => running.push(self.end_lease(id, recorder)),
            }
        }
    }

    async fn end_lease(&self, id: ServiceId, recorder: &Recorder) {
        let record = self.replica.lock().begin_end(&id);
        let Some(record) = record else { return };
        // In an outage services cannot renew their leases.
        let session = self.confirmed_session().filter(|_| self.replica.lock().is_in_contact());
        let Some(session) = session else {
            self.replica.lock().cancel_end(&record);
            return self.start_again(&record, RETRY);
        };
        if let Some(left) = record.kept.as_ref().and_then(KeptValue::left) {
            self.replica.lock().cancel_end(&record);
            return self.start_again(&record, left);
        }
        // It is not kept twice in a row.
        let kept = record.kept.is_none().then(|| self.replica.lock().keeps(&record.endpoint));
        match kept.flatten() {
            Some(kept) => self.keep(&record, kept, &session).await,
            None => self.expire(&record, &session, recorder).await,
        }
    }

    /// Removes an endpoint whose lease has ended.
    async fn expire(&self, record: &Record, session: &ConsulSession, recorder: &Recorder) {
        let id = record.endpoint.id.clone();
        let removed = vec![Removed { id: id.clone(), expired: true }];
        let change = ChangeValue { removed, ..ChangeValue::default() };
        let transaction = self
            .as_holder(record, session)
            .delete_if(&self.keys.endpoint(&id), record.written)
            .write(&self.keys.change(&self.next_change()), &change.encode());
        if let Some(index) = self.end(record, &transaction).await {
            recorder.expired(&record.endpoint, revision(index, 0));
        }
    }

    /// The beginning of a transaction that takes effect only if this server still holds a lease, or the server that does is
    /// gone.
    pub(super) fn as_holder(&self, record: &Record, session: &ConsulSession) -> KvTransaction {
        let transaction =
            KvTransaction::default().check_session(&self.keys.server(self.server), session);
        if record.server == self.server {
            return transaction;
        }
        transaction.check(&self.keys.server(record.server), 0)
    }

    /// Commits what happens at the end of a lease. Returns the index, or starts the timer again.
    pub(super) async fn end(&self, record: &Record, transaction: &KvTransaction) -> Option<u64> {
        match self.client.transact(transaction).await {
            Ok(Some(index)) => return Some(index),
            Ok(None) => self.replica.lock().cancel_end(record),
            // It may still take effect.
            Err(_) => {}
        }
        self.start_again(record, RETRY);
        None
    }

    /// Starts the timer again, unless the registration is another one now, which has its own.
    fn start_again(&self, record: &Record, after: Duration) {
        let mut replica = self.replica.lock();
        let id = &record.endpoint.id;
        let is_known = replica.record(id).is_some_and(|known| known.written == record.written);
        if is_known && !replica.timers.contains(id) {
            replica.timers.set(id, after);
        }
    }
}

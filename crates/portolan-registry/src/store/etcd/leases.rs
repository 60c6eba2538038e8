//! Ends leases at their deadline.
//!
//! A heartbeat keeps the lease in etcd alive, at whatever server it arrives, and starts that server's timer.
//! When a timer fires, etcd says how long ago the lease was kept alive last. etcd counts in whole seconds,
//! and the TTL of a lease is in whole seconds, so the answer is exact at the moment at which the timer of
//! the last heartbeat fires, and up to a second late at another server's. If the TTL has passed, the
//! endpoint is removed, provided that its key has not changed meanwhile; else the timer starts again.
//!
//! etcd ends a lease by itself only long after the TTL: when no server is left, or after an outage, services
//! shall find their registrations again.

use std::future::poll_fn;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use portolan_core::ServiceId;
use portolan_etcd::Transaction;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::warn;

use super::Shared;
use super::record::revision;
use super::replica::Record;
use crate::Recorder;
use crate::store::remote::OUTAGE;

/// How many leases are ended at the same time.
pub(super) const CONCURRENT: usize = 64;
/// How long a timer waits after etcd could not answer, or the key had changed.
pub(super) const RETRY: Duration = Duration::from_millis(250);
/// How long a timer waits if the lease has ended in etcd, and the watch has not shown it.
const AWAIT_WATCH: Duration = Duration::from_secs(1);
/// How often it is checked whether this process was stopped.
const TICK: Duration = Duration::from_millis(500);
/// A timer must not fire before etcd counts the next second.
pub(super) const ROUNDING: Duration = Duration::from_millis(20);

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
        let Some(record) = self.replica.lock().record(&id).cloned() else { return };
        let left = match self.client.time_to_live(record.lease).await {
            Ok(Some(left)) => left,
            Ok(None) => return self.start_again(&record, AWAIT_WATCH),
            Err(_) => return self.start_again(&record, RETRY),
        };
        match rest(&record, left) {
            Some(rest) => self.start_again(&record, rest + ROUNDING),
            None => self.ended(record, recorder).await,
        }
    }

    /// The TTL has passed since the last heartbeat.
    async fn ended(&self, record: Record, recorder: &Recorder) {
        if let Some(kept) = &record.kept {
            return match kept.left() {
                Some(left) => self.start_again(&record, left),
                None => self.expire(record, recorder).await,
            };
        }
        match self.keeps(&record).await {
            Some(kept) => self.keep(record, kept).await,
            None => self.expire(record, recorder).await,
        }
    }

    async fn expire(&self, record: Record, recorder: &Recorder) {
        let key = self.keys.endpoint(&record.endpoint.id);
        let transaction = Transaction::default().if_unchanged(&key, record.written).delete(key);
        match self.client.transact(transaction).await {
            Ok(result) if result.succeeded => {
                recorder.expired(&record.endpoint, revision(result.revision, 0));
                self.revoke_later(record.lease);
            }
            _ => self.start_again(&record, RETRY),
        }
    }

    /// Starts the timer again, unless the registration is another one now, which has its own.
    pub(super) fn start_again(&self, record: &Record, after: Duration) {
        let mut replica = self.replica.lock();
        let id = &record.endpoint.id;
        let is_known = replica.record(id).is_some_and(|known| known.lease == record.lease);
        if is_known && !replica.timers.contains(id) {
            replica.timers.set(id, after);
        }
    }
}

/// What is left of the TTL of an endpoint whose lease in etcd lasts `left` seconds; `None` if it has passed.
pub(super) fn rest(record: &Record, left: i64) -> Option<Duration> {
    // Rounded down, because the time that is left is.
    let passed = record.lease_ttl.saturating_sub(left).saturating_sub(1);
    let passed = Duration::from_secs(u64::try_from(passed).unwrap_or(0));
    let rest = record.endpoint.ttl.duration().checked_sub(passed);
    rest.filter(|rest| !rest.is_zero())
}

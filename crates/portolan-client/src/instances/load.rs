//! The load of one instance as this process sees it: pending requests, and a moving average of the latency.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long the moving average remembers: after this time an old latency counts for 1/e. Usual for peak EWMA (Finagle,
/// Linkerd): long enough to leave a slow instance out, short enough to notice that it has recovered.
const DECAY: Duration = Duration::from_secs(10);
/// The share for which each lower latency counts at least, however short the time since the one before: a single slow response, as
/// when this process was not scheduled, must not make the instance look slow for seconds while it answers fast.
const LOWER: f64 = 0.2;

/// Pending requests and latency of one instance.
#[derive(Debug, Default)]
pub(crate) struct InstanceLoad(Mutex<Measured>);

#[derive(Debug, Default)]
struct Measured {
    /// The start of each pending request, and a number that tells equal ones apart.
    pending: BTreeSet<(Instant, u64)>,
    next: u64,
    /// The moving average in seconds, and when it was observed.
    average: Option<(f64, Instant)>,
}

/// Identifies a pending request.
pub(crate) type PendingKey = (Instant, u64);

// === impl InstanceLoad ===

impl InstanceLoad {
    /// Counts a request that starts now.
    pub(crate) fn begin(&self) -> PendingKey {
        let mut measured = self.0.lock();
        measured.next += 1;
        let key = (Instant::now(), measured.next);
        measured.pending.insert(key);
        key
    }

    /// Ends a request that was answered.
    pub(crate) fn complete(&self, key: PendingKey) {
        let now = Instant::now();
        let mut measured = self.0.lock();
        measured.pending.remove(&key);
        measured.observe(now.saturating_duration_since(key.0), now);
    }

    /// Ends a request without an answer. That it took longer than the average says that the instance is slow; that it
    /// was shorter says nothing.
    pub(crate) fn abandon(&self, key: PendingKey) {
        let now = Instant::now();
        let mut measured = self.0.lock();
        measured.pending.remove(&key);
        let took = now.saturating_duration_since(key.0);
        if measured.decayed(now).is_some_and(|average| took.as_secs_f64() > average) {
            measured.observe(took, now);
        }
    }

    /// Returns the number of pending requests.
    pub(crate) fn pending(&self) -> usize {
        self.0.lock().pending.len()
    }

    /// Returns the moving average, or the age of the oldest pending request if that is more; `None` if nothing was
    /// measured yet.
    pub(crate) fn latency(&self, now: Instant) -> Option<Duration> {
        let measured = self.0.lock();
        let average = measured.decayed(now)?;
        let age = measured.pending.first().map(|(start, _)| now.saturating_duration_since(*start));
        Some(Duration::from_secs_f64(average).max(age.unwrap_or_default()))
    }
}

// === impl Measured ===

impl Measured {
    /// Follows an increase at once, and a decrease by the share of the time that has passed, or by a fixed share.
    fn observe(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let average = match self.average {
            Some((average, at)) if average > took => {
                let kept = kept(at, now).min(1.0 - LOWER);
                average * kept + took * (1.0 - kept)
            }
            _ => took,
        };
        self.average = Some((average, now));
    }

    /// Without observations the average falls, so that an instance that was slow is tried again.
    fn decayed(&self, now: Instant) -> Option<f64> {
        self.average.map(|(average, at)| average * kept(at, now))
    }
}

/// Returns the share of the average that is kept after this time.
fn kept(at: Instant, now: Instant) -> f64 {
    (-now.saturating_duration_since(at).as_secs_f64() / DECAY.as_secs_f64()).exp()
}

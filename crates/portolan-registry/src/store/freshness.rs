//! How current a view of a store is.
//!
//! A remote store tells its servers of changes, but not of their absence: a quiet store and one that is cut off look
//! the same. So a store with a feed over a network asks in intervals whether the feed has everything, and records the
//! answer here. The age of the view is the time since the question.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

/// What is known about how current a feed is. Clones share it.
///
/// A store that is in this process needs none: [`Freshness::in_process`], the default of
/// [`Feed::freshness`](super::Feed::freshness). Another one keeps [`Freshness::unconfirmed`] beside its feed and calls
/// [`confirm`](Self::confirm).
#[derive(Debug, Clone)]
pub struct Freshness(Option<Arc<Mutex<Confirmations>>>);

/// Two of them, because the view applies the feed later than the store hands it out.
#[derive(Debug)]
struct Confirmations {
    /// The index that the view has reached.
    reached: u64,
    /// The view shows everything that this one confirms.
    shown: Moment,
    /// A newer one, and the index that the view must reach for it.
    next: Option<(u64, Moment)>,
}

/// A moment, by the clock of Tokio and by the time of day. The first one stands still while the machine is suspended,
/// the second one can be set.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Instant,
    wall: SystemTime,
}

// === impl Freshness ===

impl Freshness {
    /// The feed of a store in this process: the view is always current.
    pub const fn in_process() -> Self {
        Self(None)
    }

    /// Nothing is confirmed yet; the age counts from now.
    pub fn unconfirmed() -> Self {
        let shown = Moment::at(Instant::now());
        Self(Some(Arc::new(Mutex::new(Confirmations { reached: 0, shown, next: None }))))
    }

    /// Records that at this moment, everything that the store had committed is in the feed up to this index.
    pub fn confirm(&self, at: Instant, index: u64) {
        let Some(confirmations) = &self.0 else { return };
        let mut confirmations = confirmations.lock();
        if index <= confirmations.reached {
            confirmations.shown = Moment::at(at);
        } else if confirmations.next.is_none() {
            // While the view has not reached one, another one would only move the goal.
            confirmations.next = Some((index, Moment::at(at)));
        }
    }

    /// The view shows the feed up to this index.
    pub(crate) fn reach(&self, index: u64) {
        let Some(confirmations) = &self.0 else { return };
        let mut confirmations = confirmations.lock();
        confirmations.reached = index;
        if let Some((_, moment)) = confirmations.next.take_if(|(needed, _)| *needed <= index) {
            confirmations.shown = moment;
        }
    }

    /// How long ago the view was last known to be current.
    pub(crate) fn age(&self) -> Duration {
        let Some(confirmations) = &self.0 else { return Duration::ZERO };
        confirmations.lock().shown.elapsed()
    }
}

// === impl Moment ===

impl Moment {
    fn at(at: Instant) -> Self {
        let passed = at.elapsed();
        let now = SystemTime::now();
        Self { at, wall: now.checked_sub(passed).unwrap_or(now) }
    }

    fn elapsed(self) -> Duration {
        self.at.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The time of day passes too, while a test runs.
    fn seconds(freshness: &Freshness) -> u64 {
        freshness.age().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn view_is_as_old_as_the_last_confirmation_that_it_shows() {
        let freshness = Freshness::unconfirmed();
        tokio::time::advance(3 * SECOND).await;
        assert_eq!(seconds(&freshness), 3, "nothing was confirmed since the start");
        freshness.confirm(Instant::now() - SECOND, 7);
        freshness.reach(6);
        assert_eq!(seconds(&freshness), 3, "the view does not show it yet");
        freshness.reach(7);
        assert_eq!(seconds(&freshness), 1);
        tokio::time::advance(2 * SECOND).await;
        freshness.reach(8);
        assert_eq!(seconds(&freshness), 3);
        freshness.confirm(Instant::now(), 8);
        assert_eq!(seconds(&freshness), 0, "a quiet store: the view shows everything already");
    }

    #[tokio::test(start_paused = true)]
    async fn confirmations_that_come_faster_than_the_view_do_not_delay_each_other() {
        let freshness = Freshness::unconfirmed();
        for index in 1..=10 {
            tokio::time::advance(SECOND).await;
            freshness.confirm(Instant::now(), index);
        }
        freshness.reach(5);
        assert_eq!(seconds(&freshness), 9, "the first one counts");
        freshness.confirm(Instant::now(), 11);
        freshness.reach(11);
        assert_eq!(seconds(&freshness), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn view_of_a_store_in_this_process_is_always_current() {
        let freshness = Freshness::in_process();
        tokio::time::advance(100 * SECOND).await;
        assert_eq!(freshness.age(), Duration::ZERO);
    }

    #[tokio::test]
    async fn time_in_which_the_machine_was_suspended_counts() {
        let moment = Moment { wall: SystemTime::now() - 60 * SECOND, ..Moment::at(Instant::now()) };
        assert!(moment.elapsed() >= 60 * SECOND);
    }
}

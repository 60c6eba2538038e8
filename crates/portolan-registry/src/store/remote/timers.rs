//! The timers of the leases that this server ends.

use std::collections::{HashMap, HashSet};
use std::task::{Context, Poll};
use std::time::Duration;

use portolan_core::{ServiceId, Ttl};
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue};

use super::GRACE;

/// One timer for each endpoint whose lease this server ends.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: DelayQueue<ServiceId>,
    timer_of: HashMap<ServiceId, (delay_queue::Key, Instant)>,
    /// The endpoints whose timers fired, and were neither set again nor cancelled since.
    fired: HashSet<ServiceId>,
}

// === impl Timers ===

impl Timers {
    /// Starts a timer, or starts it again.
    pub(crate) fn set(&mut self, id: &ServiceId, after: Duration) {
        let fires = Instant::now() + after;
        self.fired.remove(id);
        match self.timer_of.get_mut(id) {
            Some((key, at)) => {
                self.queue.reset(key, after);
                *at = fires;
            }
            None => {
                let key = self.queue.insert(id.clone(), after);
                self.timer_of.insert(id.clone(), (key, fires));
            }
        }
    }

    pub(crate) fn cancel(&mut self, id: &ServiceId) {
        self.fired.remove(id);
        if let Some((key, _)) = self.timer_of.remove(id) {
            self.queue.remove(&key);
        }
    }

    pub(crate) fn contains(&self, id: &ServiceId) -> bool {
        self.timer_of.contains_key(id)
    }

    pub(crate) fn ids(&self) -> Vec<ServiceId> {
        self.timer_of.keys().cloned().collect()
    }

    /// Each endpoint, with the time until its timer fires; zero if it has fired.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&ServiceId, Duration)> {
        let now = Instant::now();
        let waiting = self.timer_of.iter();
        let waiting =
            waiting.map(move |(id, (_, fires))| (id, fires.saturating_duration_since(now)));
        waiting.chain(self.fired.iter().map(|id| (id, Duration::ZERO)))
    }

    /// Whether at most half of this TTL is left until the timer fires that ends the lease. It is not known of an endpoint
    /// whose lease another server ends.
    pub(crate) fn is_half_over(&self, id: &ServiceId, ttl: Ttl) -> bool {
        let left = match self.timer_of.get(id) {
            Some((_, fires)) => fires.saturating_duration_since(Instant::now()),
            None if self.fired.contains(id) => Duration::ZERO,
            None => return false,
        };
        left.saturating_sub(GRACE) <= ttl.duration() / 2
    }

    /// Waits for the next timer that fires; it is gone then.
    pub(crate) fn poll_fired(&mut self, context: &mut Context<'_>) -> Poll<ServiceId> {
        match self.queue.poll_expired(context) {
            Poll::Ready(Some(fired)) => {
                let id = fired.into_inner();
                self.timer_of.remove(&id);
                self.fired.insert(id.clone());
                Poll::Ready(id)
            }
            // An empty queue: a timer that is set wakes the task.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn timer_fires_once_and_not_if_it_was_cancelled() {
        let (mut timers, id) = (Timers::default(), "api".parse::<ServiceId>().unwrap());
        timers.set(&id, Duration::from_secs(1));
        timers.set(&id, Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(12)).await;
        let fired = poll_fn(|context| timers.poll_fired(context)).await;
        assert_eq!((&fired, timers.contains(&id)), (&id, false));
        assert_eq!(timers.all().collect::<Vec<_>>(), [(&id, Duration::ZERO)]);
        assert!(poll_fn(|context| timers.poll_fired(context)).now_or_never().is_none());
        timers.set(&id, Duration::from_secs(1));
        assert_eq!(timers.all().collect::<Vec<_>>(), [(&id, Duration::from_secs(1))]);
        timers.cancel(&id);
        assert_eq!(timers.all().count(), 0);
        tokio::time::advance(Duration::from_secs(12)).await;
        assert!(poll_fn(|context| timers.poll_fired(context)).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_ttl_is_over_until_the_timer_is_set_again() {
        let (mut timers, id) = (Timers::default(), "api".parse::<ServiceId>().unwrap());
        assert!(!timers.is_half_over(&id, Ttl::DEFAULT), "another server ends the lease");
        let (whole, millisecond) = (Ttl::DEFAULT.duration(), Duration::from_millis(1));
        timers.set(&id, whole + GRACE);
        tokio::time::advance(whole / 2 - millisecond).await;
        assert!(!timers.is_half_over(&id, Ttl::DEFAULT));
        tokio::time::advance(millisecond).await;
        assert!(timers.is_half_over(&id, Ttl::DEFAULT));
        timers.set(&id, whole + GRACE);
        assert!(!timers.is_half_over(&id, Ttl::DEFAULT));
        tokio::time::advance(whole + GRACE * 2).await;
        assert_eq!(poll_fn(|context| timers.poll_fired(context)).await, id);
        assert!(timers.is_half_over(&id, Ttl::DEFAULT), "it is about to end");
    }
}

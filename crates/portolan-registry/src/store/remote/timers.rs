//! The timers of the leases that this server ends.

use std::collections::HashMap;
use std::task::{Context, Poll};
use std::time::Duration;

use portolan_core::ServiceId;
use tokio_util::time::{DelayQueue, delay_queue};

/// One timer for each endpoint whose lease this server ends.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: DelayQueue<ServiceId>,
    key_of: HashMap<ServiceId, delay_queue::Key>,
}

// === impl Timers ===

impl Timers {
    /// Starts a timer, or starts it again.
    pub(crate) fn set(&mut self, id: &ServiceId, after: Duration) {
        match self.key_of.get(id) {
            Some(key) => self.queue.reset(key, after),
            None => {
                let key = self.queue.insert(id.clone(), after);
                self.key_of.insert(id.clone(), key);
            }
        }
    }

    pub(crate) fn cancel(&mut self, id: &ServiceId) {
        if let Some(key) = self.key_of.remove(id) {
            self.queue.remove(&key);
        }
    }

    pub(crate) fn contains(&self, id: &ServiceId) -> bool {
        self.key_of.contains_key(id)
    }

    pub(crate) fn ids(&self) -> Vec<ServiceId> {
        self.key_of.keys().cloned().collect()
    }

    /// Waits for the next timer that fires; it is gone then.
    pub(crate) fn poll_fired(&mut self, context: &mut Context<'_>) -> Poll<ServiceId> {
        match self.queue.poll_expired(context) {
            Poll::Ready(Some(fired)) => {
                let id = fired.into_inner();
                self.key_of.remove(&id);
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
        assert!(poll_fn(|context| timers.poll_fired(context)).now_or_never().is_none());
        timers.set(&id, Duration::from_secs(1));
        timers.cancel(&id);
        tokio::time::advance(Duration::from_secs(12)).await;
        assert!(poll_fn(|context| timers.poll_fired(context)).now_or_never().is_none());
    }
}

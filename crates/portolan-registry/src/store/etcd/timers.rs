//! The timers of the leases that this server ends.

use std::collections::HashMap;
use std::task::{Context, Poll};
use std::time::Duration;

use portolan_core::ServiceId;
use tokio_util::time::{DelayQueue, delay_queue};

/// One timer for each endpoint whose lease this server ends.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: DelayQueue<ServiceId>,
    key_of: HashMap<ServiceId, delay_queue::Key>,
}

// === impl Timers ===

impl Timers {
    /// Starts a timer, or starts it again.
    pub(super) fn set(&mut self, id: &ServiceId, after: Duration) {
        match self.key_of.get(id) {
            Some(key) => self.queue.reset(key, after),
            None => {
                let key = self.queue.insert(id.clone(), after);
                self.key_of.insert(id.clone(), key);
            }
        }
    }

    pub(super) fn cancel(&mut self, id: &ServiceId) {
        if let Some(key) = self.key_of.remove(id) {
            self.queue.remove(&key);
        }
    }

    pub(super) fn contains(&self, id: &ServiceId) -> bool {
        self.key_of.contains_key(id)
    }

    pub(super) fn ids(&self) -> Vec<ServiceId> {
        self.key_of.keys().cloned().collect()
    }

    /// Waits for the next timer that fires; it is gone then.
    pub(super) fn poll_fired(&mut self, context: &mut Context<'_>) -> Poll<ServiceId> {
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

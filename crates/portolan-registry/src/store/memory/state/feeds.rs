//! What the feeds get: everything that is final, in order.

use std::sync::Arc;

use tokio::sync::Notify;

use super::State;
use crate::store::memory::feed::FeedQueue;
use crate::store::{Committed, Update};

impl State {
    pub(in crate::store::memory) fn open_feed(&mut self) -> (u64, Arc<Notify>) {
        let (id, notify) = (self.next_feed, Arc::new(Notify::new()));
        self.next_feed += 1;
        let mut queue = FeedQueue::new(Arc::clone(&notify));
        if self.history.is_some() {
            // At once, because the history ends here.
            queue.hold(self.reset());
        }
        self.feeds.insert(id, queue);
        (id, notify)
    }

    pub(in crate::store::memory) fn close_feed(&mut self, id: u64) {
        self.feeds.remove(&id);
    }

    /// Takes the next update of a feed, if there is one.
    pub(in crate::store::memory) fn take_update(&mut self, id: u64) -> Option<Update> {
        if self.feeds.get(&id)?.backlog.needs_reset() {
            let reset = self.reset();
            self.feeds.get_mut(&id)?.hold(reset);
        }
        let queue = self.feeds.get_mut(&id)?;
        if let Some(held) = queue.held.take_if(|held| held.index <= self.durable) {
            return Some(held);
        }
        if queue.held.is_some() {
            return None;
        }
        let waiting = usize::try_from(self.index - self.durable).unwrap_or(usize::MAX);
        let (committed, left) = queue.backlog.take(waiting);
        let index = self.index - u64::try_from(left).unwrap_or(u64::MAX);
        (!committed.is_empty()).then_some(Update { committed, index })
    }

    /// The whole state as an update.
    fn reset(&mut self) -> Update {
        let endpoints = self.records.values().map(|record| Arc::clone(&record.endpoint)).collect();
        let history = self.history.take().filter(|_| self.index == 0);
        let reset = Committed::Reset { endpoints, revision: self.revision, history };
        Update { committed: vec![reset], index: self.index }
    }
}

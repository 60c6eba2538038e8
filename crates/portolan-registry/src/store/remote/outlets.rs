//! The feeds of a replica: what was committed, and whether the connection to the cluster works.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{Revision, ServiceEndpoint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::feed_queue::{FeedQueue, Taken};
use crate::store::{Committed, Update};

/// The feeds of a replica.
#[derive(Debug)]
pub(crate) struct Outlets {
    /// Since when the connection is lost, and why; `None` while it works.
    lost: Option<Lost>,
    /// The number of entries that were emitted.
    index: u64,
    feeds: HashMap<u64, FeedQueue>,
    next_feed: u64,
}

/// The loss of the connection.
#[derive(Debug)]
struct Lost {
    since: Instant,
    reason: String,
    /// Whether the feeds know of it.
    is_told: bool,
}

// === impl Outlets ===

impl Outlets {
    pub(crate) fn new() -> Self {
        let (since, reason) = (Instant::now(), "not connected yet".to_owned());
        let lost = Some(Lost { since, reason, is_told: false });
        Self { lost, index: 0, feeds: HashMap::new(), next_feed: 0 }
    }

    /// The number of entries that were emitted.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// Why the connection is lost; `None` while it works.
    pub(crate) fn lost(&self) -> Option<&str> {
        self.lost.as_ref().map(|lost| lost.reason.as_str())
    }

    pub(crate) fn open(&mut self) -> (u64, Arc<Notify>) {
        let (id, notify) = (self.next_feed, Arc::new(Notify::new()));
        self.next_feed += 1;
        self.feeds.insert(id, FeedQueue::new(Arc::clone(&notify)));
        (id, notify)
    }

    pub(crate) fn close(&mut self, id: u64) {
        self.feeds.remove(&id);
    }

    pub(crate) fn emit(&mut self, entry: &Committed) {
        self.index += 1;
        self.feeds.values_mut().for_each(|queue| queue.backlog.push(entry.clone()));
    }

    /// The state was replaced: all feeds continue with a reset.
    pub(crate) fn reset(&mut self) {
        self.index += 1;
        self.feeds.values_mut().for_each(|queue| queue.backlog.reset());
    }

    pub(crate) fn lose(&mut self, reason: &str) {
        let new = || Lost { since: Instant::now(), reason: String::new(), is_told: false };
        let lost = self.lost.get_or_insert_with(new);
        reason.clone_into(&mut lost.reason);
        if !std::mem::replace(&mut lost.is_told, true) {
            self.feeds.values_mut().for_each(|queue| queue.lose(reason));
        }
    }

    /// The connection works. Returns how long it was lost, if it was.
    pub(crate) fn resume(&mut self) -> Option<Duration> {
        let lost = self.lost.take()?;
        self.feeds.values_mut().for_each(FeedQueue::resume);
        Some(lost.since.elapsed())
    }

    /// Takes the next update of a feed, or why the connection is lost. `state` returns the whole state once it is
    /// loaded.
    pub(crate) fn take(
        &mut self,
        id: u64,
        is_loaded: bool,
        state: impl FnOnce() -> (Vec<Arc<ServiceEndpoint>>, Revision),
    ) -> Option<Result<Update, String>> {
        let (committed, left) = match self.feeds.get_mut(&id)?.take(is_loaded)? {
            Taken::Lost(reason) => return Some(Err(reason)),
            Taken::Entries { entries, left } => (entries, left),
            Taken::Reset => {
                let (endpoints, revision) = state();
                (vec![Committed::Reset { endpoints, revision, history: None }], 0)
            }
        };
        let index = self.index - u64::try_from(left).unwrap_or(u64::MAX);
        Some(Ok(Update { committed, index }))
    }
}

//! The feeds of the store `memory`, each with a bounded backlog.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::Shared;
use crate::store::{Committed, Feed, FeedLost, Update};

/// The backlog of a feed. A feed that falls behind further continues with a reset.
const BACKLOG: usize = 100_000;

/// One of the feeds of a store, each of which has its own bounded backlog.
#[derive(Debug)]
pub(super) struct MemoryFeed {
    shared: Arc<Shared>,
    id: u64,
    notify: Arc<Notify>,
}

/// What a feed has not handed out yet.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) entries: VecDeque<Committed>,
    /// Whether the feed continues with a reset.
    pub(super) reset: bool,
    /// The reset that the feed continues with, once everything in it is final.
    pub(super) held: Option<Update>,
    notify: Arc<Notify>,
}

// === impl MemoryFeed ===

impl MemoryFeed {
    pub(super) fn open(shared: Arc<Shared>) -> Self {
        let (id, notify) = shared.state.lock().open_feed();
        Self { shared, id, notify }
    }
}

impl Feed for MemoryFeed {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, FeedLost>> {
        async move {
            loop {
                if let Some(update) = self.shared.state.lock().take_update(self.id) {
                    return Ok(update);
                }
                self.notify.notified().await;
            }
        }
        .boxed()
    }
}

impl Drop for MemoryFeed {
    fn drop(&mut self) {
        self.shared.state.lock().close_feed(self.id);
    }
}

// === impl Backlog ===

impl Backlog {
    pub(super) fn new(notify: Arc<Notify>) -> Self {
        Self { entries: VecDeque::new(), reset: true, held: None, notify }
    }

    pub(super) fn push(&mut self, entry: Committed) {
        if self.entries.len() >= BACKLOG {
            self.reset();
        }
        if !self.reset {
            self.entries.push_back(entry);
        }
        self.notify();
    }

    /// Drops what was not handed out: the feed continues with a reset.
    pub(super) fn reset(&mut self) {
        self.entries.clear();
        self.held = None;
        self.reset = true;
        self.notify();
    }

    pub(super) fn notify(&self) {
        self.notify.notify_one();
    }
}

//! The feeds of the store `memory`, each with a bounded backlog.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::Shared;
use crate::store::backlog::Backlog;
use crate::store::{Feed, FeedLost, Update};

/// One of the feeds of a store, each of which has its own bounded backlog.
#[derive(Debug)]
pub(super) struct MemoryFeed {
    shared: Arc<Shared>,
    id: u64,
    notify: Arc<Notify>,
}

/// What a feed has not handed out yet.
#[derive(Debug)]
pub(super) struct FeedQueue {
    pub(super) backlog: Backlog,
    /// The reset that the feed continues with, once everything in it is final.
    pub(super) held: Option<Update>,
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

// === impl FeedQueue ===

impl FeedQueue {
    pub(super) fn new(notify: Arc<Notify>) -> Self {
        Self { backlog: Backlog::new(notify), held: None }
    }

    /// Drops what was not handed out: the feed continues with a reset.
    pub(super) fn reset(&mut self) {
        self.held = None;
        self.backlog.reset();
    }

    /// Continues with this reset. The entries from now on follow it.
    pub(super) fn hold(&mut self, reset: Update) {
        self.held = Some(reset);
        self.backlog.begin();
    }
}

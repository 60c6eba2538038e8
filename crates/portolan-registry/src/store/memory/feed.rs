//! A feed of the store `memory`.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::Shared;
use crate::store::{Feed, FeedLost, Update};

/// One of the feeds of a store, each of which has its own bounded backlog.
#[derive(Debug)]
pub(super) struct MemoryFeed {
    shared: Arc<Shared>,
    id: u64,
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

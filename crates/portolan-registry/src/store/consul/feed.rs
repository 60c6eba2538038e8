//! The feeds of the store `consul`.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::{NAME, Shared};
use crate::store::{Feed, FeedLost, Freshness, Update};

/// One of the feeds of a store.
#[derive(Debug)]
pub(super) struct ConsulFeed {
    shared: Arc<Shared>,
    id: u64,
    notify: Arc<Notify>,
}

// === impl ConsulFeed ===

impl ConsulFeed {
    pub(super) fn open(shared: Arc<Shared>) -> Self {
        let (id, notify) = shared.replica.lock().outlets.open();
        Self { shared, id, notify }
    }
}

impl Feed for ConsulFeed {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, FeedLost>> {
        async move {
            loop {
                let taken = self.shared.replica.lock().take_update(self.id);
                match taken {
                    Some(Ok(update)) => return Ok(update),
                    Some(Err(reason)) => return Err(FeedLost { store: NAME, reason }),
                    None => self.notify.notified().await,
                }
            }
        }
        .boxed()
    }

    fn freshness(&self) -> Freshness {
        self.shared.freshness.clone()
    }
}

impl Drop for ConsulFeed {
    fn drop(&mut self) {
        self.shared.replica.lock().outlets.close(self.id);
    }
}

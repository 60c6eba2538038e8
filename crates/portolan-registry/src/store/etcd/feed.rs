//! The feeds of the store `etcd`.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::{NAME, Shared};
use crate::store::{Feed, FeedLost, Freshness, Update};

/// One of the feeds of a store.
#[derive(Debug)]
pub(super) struct EtcdFeed {
    shared: Arc<Shared>,
    id: u64,
    notify: Arc<Notify>,
}

// === impl EtcdFeed ===

impl EtcdFeed {
    pub(super) fn open(shared: Arc<Shared>) -> Self {
        let (id, notify) = shared.replica.lock().open_feed();
        Self { shared, id, notify }
    }
}

impl Feed for EtcdFeed {
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

impl Drop for EtcdFeed {
    fn drop(&mut self) {
        self.shared.replica.lock().close_feed(self.id);
    }
}

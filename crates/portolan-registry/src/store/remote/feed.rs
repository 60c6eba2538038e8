//! The feeds of a store whose servers keep a replica.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::store::{Feed, FeedLost, Freshness, Update};

/// What a store shares with its feeds.
pub(crate) trait FeedSource: fmt::Debug + Send + Sync + 'static {
    /// The name of the store.
    const NAME: &'static str;

    /// Opens a feed. Returns its number, and what tells of something new for it.
    fn open_feed(&self) -> (u64, Arc<Notify>);

    fn close_feed(&self, feed: u64);

    /// Takes the next update of a feed, or why the connection is lost.
    fn take_update(&self, feed: u64) -> Option<Result<Update, String>>;

    fn freshness(&self) -> &Freshness;
}

/// One of the feeds of a store.
#[derive(Debug)]
pub(crate) struct ReplicaFeed<S: FeedSource> {
    source: Arc<S>,
    id: u64,
    notify: Arc<Notify>,
}

// === impl ReplicaFeed ===

impl<S: FeedSource> ReplicaFeed<S> {
    pub(crate) fn open(source: Arc<S>) -> Self {
        let (id, notify) = source.open_feed();
        Self { source, id, notify }
    }
}

impl<S: FeedSource> Feed for ReplicaFeed<S> {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, FeedLost>> {
        async move {
            loop {
                match self.source.take_update(self.id) {
                    Some(Ok(update)) => return Ok(update),
                    Some(Err(reason)) => return Err(FeedLost { store: S::NAME, reason }),
                    None => self.notify.notified().await,
                }
            }
        }
        .boxed()
    }

    fn freshness(&self) -> Freshness {
        self.source.freshness().clone()
    }
}

impl<S: FeedSource> Drop for ReplicaFeed<S> {
    fn drop(&mut self) {
        self.source.close_feed(self.id);
    }
}

//! The feeds of the store `etcd`, each with a bounded backlog.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::{NAME, Shared};
use crate::store::backlog::Backlog;
use crate::store::{Committed, Feed, FeedLost, Freshness, Update};

/// One of the feeds of a store.
#[derive(Debug)]
pub(super) struct EtcdFeed {
    shared: Arc<Shared>,
    id: u64,
    notify: Arc<Notify>,
}

/// What a feed has not handed out yet.
#[derive(Debug)]
pub(super) struct FeedQueue {
    pub(super) backlog: Backlog,
    /// Why the watch is lost, until the feed has handed it out.
    lost: Option<String>,
    /// Whether the watch works again, which the feed has not handed out yet.
    resumed: bool,
}

/// What a feed hands out next.
#[derive(Debug)]
pub(super) enum Taken {
    Lost(String),
    Reset,
    Entries {
        entries: Vec<Committed>,
        /// How many entries are left.
        left: usize,
    },
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

// === impl FeedQueue ===

impl FeedQueue {
    pub(super) fn new(notify: Arc<Notify>) -> Self {
        Self { backlog: Backlog::new(notify), lost: None, resumed: false }
    }

    pub(super) fn lose(&mut self, reason: &str) {
        self.lost = Some(reason.to_owned());
        self.resumed = false;
        self.backlog.notify();
    }

    pub(super) fn resume(&mut self) {
        self.lost = None;
        self.resumed = true;
        self.backlog.notify();
    }

    /// Takes what comes next. A reset waits until the state is loaded.
    pub(super) fn take(&mut self, loaded: bool) -> Option<Taken> {
        if let Some(reason) = self.lost.take() {
            return Some(Taken::Lost(reason));
        }
        if self.backlog.needs_reset() {
            if !loaded {
                return None;
            }
            self.backlog.begin();
            self.resumed = false;
            return Some(Taken::Reset);
        }
        let (entries, left) = self.backlog.take(0);
        if entries.is_empty() && !std::mem::take(&mut self.resumed) {
            return None;
        }
        Some(Taken::Entries { entries, left })
    }
}

//! The feeds of the store `etcd`, each with a bounded backlog.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::{NAME, Shared};
use crate::store::{Committed, Feed, FeedLost, Update};

/// The length of a backlog. A feed that falls behind further continues with a reset.
const BACKLOG: usize = 100_000;
/// The number of entries of an update, so that applying it does not block readers.
const UPDATE: usize = 256;

/// One of the feeds of a store.
#[derive(Debug)]
pub(super) struct EtcdFeed {
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
    /// Why the watch is lost, until the feed has handed it out.
    lost: Option<String>,
    /// Whether the watch works again, which the feed has not handed out yet.
    resumed: bool,
    notify: Arc<Notify>,
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
}

impl Drop for EtcdFeed {
    fn drop(&mut self) {
        self.shared.replica.lock().close_feed(self.id);
    }
}

// === impl Backlog ===

impl Backlog {
    pub(super) fn new(notify: Arc<Notify>) -> Self {
        Self { entries: VecDeque::new(), reset: true, lost: None, resumed: false, notify }
    }

    pub(super) fn push(&mut self, entry: Committed) {
        if self.entries.len() >= BACKLOG {
            self.reset();
        }
        if !self.reset {
            self.entries.push_back(entry);
        }
        self.notify.notify_one();
    }

    pub(super) fn reset(&mut self) {
        self.entries.clear();
        self.reset = true;
        self.notify.notify_one();
    }

    pub(super) fn lose(&mut self, reason: &str) {
        self.lost = Some(reason.to_owned());
        self.resumed = false;
        self.notify.notify_one();
    }

    pub(super) fn resume(&mut self) {
        self.lost = None;
        self.resumed = true;
        self.notify.notify_one();
    }

    /// Takes what comes next. A reset waits until the state is loaded.
    pub(super) fn take(&mut self, loaded: bool) -> Option<Taken> {
        if let Some(reason) = self.lost.take() {
            return Some(Taken::Lost(reason));
        }
        if self.reset {
            if !loaded {
                return None;
            }
            self.reset = false;
            self.resumed = false;
            return Some(Taken::Reset);
        }
        let count = self.entries.len().min(UPDATE);
        if count == 0 && !std::mem::take(&mut self.resumed) {
            return None;
        }
        let entries = self.entries.drain(..count).collect();
        Some(Taken::Entries { entries, left: self.entries.len() })
    }
}

//! What a feed has not handed out yet, with the state of the connection that it depends on.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::store::Committed;
use crate::store::backlog::Backlog;

/// What a feed has not handed out yet.
#[derive(Debug)]
pub(crate) struct FeedQueue {
    pub(crate) backlog: Backlog,
    /// Why the watch is lost, until the feed has handed it out.
    lost: Option<String>,
    /// Whether the watch works again, which the feed has not handed out yet.
    resumed: bool,
}

/// What a feed hands out next.
#[derive(Debug)]
pub(crate) enum Taken {
    Lost(String),
    Reset,
    Entries {
        entries: Vec<Committed>,
        /// How many entries are left.
        left: usize,
    },
}

// === impl FeedQueue ===

impl FeedQueue {
    pub(crate) fn new(notify: Arc<Notify>) -> Self {
        Self { backlog: Backlog::new(notify), lost: None, resumed: false }
    }

    pub(crate) fn lose(&mut self, reason: &str) {
        self.lost = Some(reason.to_owned());
        self.resumed = false;
        self.backlog.notify();
    }

    pub(crate) fn resume(&mut self) {
        self.lost = None;
        self.resumed = true;
        self.backlog.notify();
    }

    /// Takes what comes next. A reset waits until the state is loaded.
    pub(crate) fn take(&mut self, loaded: bool) -> Option<Taken> {
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

//! What a feed has not handed out yet, within a bound.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use super::Committed;

/// The length of a backlog. A feed that falls behind further continues with a reset.
const BACKLOG: usize = 100_000;
/// The number of entries of an update, so that applying it does not block readers.
pub(crate) const UPDATE: usize = 256;

/// The entries of one feed, or that it continues with a reset.
#[derive(Debug)]
pub(crate) struct Backlog {
    entries: VecDeque<Committed>,
    reset: bool,
    notify: Arc<Notify>,
}

// === impl Backlog ===

impl Backlog {
    /// Creates the backlog of a feed, which begins with a reset.
    pub(crate) fn new(notify: Arc<Notify>) -> Self {
        Self { entries: VecDeque::new(), reset: true, notify }
    }

    pub(crate) fn push(&mut self, entry: Committed) {
        if self.entries.len() >= BACKLOG {
            self.reset();
        }
        if !self.reset {
            self.entries.push_back(entry);
        }
        self.notify();
    }

    /// Drops what was not handed out: the feed continues with a reset.
    pub(crate) fn reset(&mut self) {
        self.entries.clear();
        self.reset = true;
        self.notify();
    }

    pub(crate) fn notify(&self) {
        self.notify.notify_one();
    }

    pub(crate) fn needs_reset(&self) -> bool {
        self.reset
    }

    /// The caller hands out a reset: the entries from now on follow it.
    pub(crate) fn begin(&mut self) {
        self.reset = false;
    }

    /// Takes the next entries, at most [`UPDATE`], without the newest ones that are held back. Returns how many
    /// are left too.
    pub(crate) fn take(&mut self, held_back: usize) -> (Vec<Committed>, usize) {
        let count = self.entries.len().saturating_sub(held_back).min(UPDATE);
        let taken = self.entries.drain(..count).collect();
        (taken, self.entries.len())
    }
}

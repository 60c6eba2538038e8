//! A system whose kernel is not asked for changes: the interfaces are read again once a second.

use std::io;

/// Never subscribed.
#[derive(Debug)]
pub(super) enum Source {}

// === impl Source ===

impl Source {
    /// Fails, so that the caller polls.
    pub(super) fn subscribe() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits for a report.
    pub(super) async fn changed(&self) {
        match *self {}
    }

    /// Discards the reports that are queued.
    pub(super) fn discard(&self) {
        match *self {}
    }
}

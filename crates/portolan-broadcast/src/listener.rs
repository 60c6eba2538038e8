//! Hands what was heard to whoever listens, without waiting for anybody.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use parking_lot::Mutex;
use portolan_core::{ServiceAnnouncement, Ttl};
use portolan_metrics::{BroadcastErrorKind, Metrics};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError::Lagged;
use tracing::warn;

/// How many announcements wait for the slowest listener.
const BACKLOG: usize = 1024;

/// One announcement that was heard and believed.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedAnnouncement {
    /// What it says.
    pub announcement: ServiceAnnouncement,
    /// How long it holds.
    pub ttl: Ttl,
    /// Where it came from.
    pub source: SocketAddr,
}

/// Everything heard from now on, as a stream; it ends when the broadcaster stops.
///
/// A bounded number of announcements waits: a listener that is too slow loses the oldest.
pub struct AnnouncementListener {
    heard: BroadcastStream<Arc<ReceivedAnnouncement>>,
    lost: u64,
    metrics: Metrics,
}

/// The one who speaks to all listeners.
#[derive(Debug)]
pub(crate) struct Listeners {
    // None once closed: the streams end when the sender goes.
    sender: Mutex<Option<broadcast::Sender<Arc<ReceivedAnnouncement>>>>,
}

// === impl Listeners ===

impl Listeners {
    pub(crate) fn new() -> Self {
        Self { sender: Mutex::new(Some(broadcast::Sender::new(BACKLOG))) }
    }

    pub(crate) fn listen(&self, metrics: Metrics) -> AnnouncementListener {
        let heard = match &*self.sender.lock() {
            Some(sender) => sender.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        };
        AnnouncementListener { heard: BroadcastStream::new(heard), lost: 0, metrics }
    }

    /// Tells everybody; what was heard is copied only where somebody listens.
    pub(crate) fn tell(&self, heard: impl FnOnce() -> ReceivedAnnouncement) {
        if let Some(sender) = &*self.sender.lock()
            && sender.receiver_count() > 0
        {
            // It fails where the last listener went this very moment, and nobody misses it.
            let _ = sender.send(Arc::new(heard()));
        }
    }

    pub(crate) fn close(&self) {
        self.sender.lock().take();
    }
}

// === impl AnnouncementListener ===

impl AnnouncementListener {
    /// How many announcements this listener was too slow for.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Stream for AnnouncementListener {
    type Item = Arc<ReceivedAnnouncement>;

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Arc<ReceivedAnnouncement>>> {
        let this = self.get_mut();
        loop {
            match futures_util::ready!(Pin::new(&mut this.heard).poll_next(cx)) {
                Some(Ok(heard)) => return Poll::Ready(Some(heard)),
                None => return Poll::Ready(None),
                Some(Err(Lagged(count))) => {
                    this.lost += count;
                    this.metrics.broadcast_error(BroadcastErrorKind::Receive);
                    warn!(count, "a listener was too slow, announcements are lost");
                }
            }
        }
    }
}

impl fmt::Debug for AnnouncementListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnnouncementListener").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

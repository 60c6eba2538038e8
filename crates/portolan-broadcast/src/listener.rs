//! Delivers received announcements to listeners, without waiting for slow ones.

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

/// The number of announcements buffered for the slowest listener.
const BACKLOG: usize = 1024;

/// An announcement that was received and accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedAnnouncement {
    /// The announcement.
    pub announcement: ServiceAnnouncement,
    /// How long the announcement is valid.
    pub ttl: Ttl,
    /// The address that sent it.
    pub source: SocketAddr,
}

/// A stream of the announcements received from now on. It ends when the broadcaster stops.
///
/// The buffer is bounded: a listener that is too slow loses the oldest announcements.
pub struct AnnouncementListener {
    received: BroadcastStream<Arc<ReceivedAnnouncement>>,
    lost: u64,
    metrics: Metrics,
}

/// The sender to all listeners.
#[derive(Debug)]
pub(crate) struct Listeners {
    // `None` once closed: dropping the sender ends the streams.
    sender: Mutex<Option<broadcast::Sender<Arc<ReceivedAnnouncement>>>>,
}

// === impl Listeners ===

impl Listeners {
    pub(crate) fn new() -> Self {
        Self { sender: Mutex::new(Some(broadcast::Sender::new(BACKLOG))) }
    }

    pub(crate) fn listen(&self, metrics: Metrics) -> AnnouncementListener {
        let received = match &*self.sender.lock() {
            Some(sender) => sender.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        };
        AnnouncementListener { received: BroadcastStream::new(received), lost: 0, metrics }
    }

    /// Sends an announcement to every listener. It is created only if there is one.
    pub(crate) fn send(&self, received: impl FnOnce() -> ReceivedAnnouncement) {
        if let Some(sender) = &*self.sender.lock()
            && sender.receiver_count() > 0
        {
            // Sending fails if the last listener was dropped meanwhile.
            let _ = sender.send(Arc::new(received()));
        }
    }

    pub(crate) fn close(&self) {
        self.sender.lock().take();
    }
}

// === impl AnnouncementListener ===

impl AnnouncementListener {
    /// Returns the number of announcements that this listener lost because it was too slow.
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
            match futures_util::ready!(Pin::new(&mut this.received).poll_next(cx)) {
                Some(Ok(received)) => return Poll::Ready(Some(received)),
                None => return Poll::Ready(None),
                Some(Err(Lagged(count))) => {
                    this.lost += count;
                    this.metrics.broadcast_error(BroadcastErrorKind::Receive);
                    warn!(count, "Announcements lost, the listener is too slow");
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

//! The changes of announced instances as a stream. It starts with a snapshot, and contains another one if
//! changes were missed, so that no removed instance stays with the reader.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use portolan_core::{Change, ServiceEvent};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::{Inner, Peers};

/// A stream of the changes of announced instances: a snapshot, then each change once, and a new snapshot
/// if the stream was read too slowly. It ends when the broadcaster stops.
pub struct PeerEvents {
    peers: Arc<Peers>,
    snapshot: Option<ServiceEvent>,
    changes: BroadcastStream<ServiceEvent>,
}

// === impl PeerEvents ===

impl PeerEvents {
    pub(crate) fn new(peers: Arc<Peers>) -> Self {
        let (snapshot, changes) = begin(&peers.inner.lock());
        Self { peers, snapshot, changes }
    }
}

impl Stream for PeerEvents {
    type Item = ServiceEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ServiceEvent>> {
        let this = self.get_mut();
        if let Some(snapshot) = this.snapshot.take() {
            return Poll::Ready(Some(snapshot));
        }
        match futures_util::ready!(Pin::new(&mut this.changes).poll_next(cx)) {
            Some(Ok(event)) => Poll::Ready(Some(event)),
            None => Poll::Ready(None),
            Some(Err(_missed_some)) => {
                let (snapshot, changes) = begin(&this.peers.inner.lock());
                this.changes = changes;
                Poll::Ready(snapshot)
            }
        }
    }
}

impl fmt::Debug for PeerEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerEvents").finish_non_exhaustive()
    }
}

/// Returns a snapshot and the stream of every change after it, or neither once closed.
fn begin(inner: &Inner) -> (Option<ServiceEvent>, BroadcastStream<ServiceEvent>) {
    let Some(events) = &inner.events else {
        let ended = broadcast::Sender::new(1).subscribe();
        return (None, BroadcastStream::new(ended));
    };
    let endpoints = inner.state.live(None).cloned().collect();
    let change = Change::Snapshot { endpoints, incomplete: false };
    let snapshot = ServiceEvent { revision: Default::default(), change };
    (Some(snapshot), BroadcastStream::new(events.subscribe()))
}

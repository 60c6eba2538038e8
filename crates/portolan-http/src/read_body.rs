//! Whether the body of a request was read to its end: otherwise hyper closes the connection after the response, which has to say so
//! (RFC 9112, section 9.6).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// The body of a request.
#[derive(Debug)]
pub(crate) struct ReadBody {
    body: Incoming,
    is_read: Arc<AtomicBool>,
}

// === impl ReadBody ===

impl ReadBody {
    /// Returns the body, and what tells whether it was read; nothing if there is nothing to read.
    pub(crate) fn track(body: Incoming) -> (axum::body::Body, Option<Arc<AtomicBool>>) {
        if body.is_end_stream() {
            return (axum::body::Body::empty(), None);
        }
        let is_read = Arc::new(AtomicBool::new(false));
        let tracked = Self { body, is_read: Arc::clone(&is_read) };
        (axum::body::Body::new(tracked), Some(is_read))
    }
}

impl Body for ReadBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.is_read.store(true, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Endpoints heard, with expiry by TTL.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use portolan_core::ServiceEvent;

/// The changes among the instances heard: first a snapshot, then each change once, and a new
/// snapshot where the stream was read too slowly. It ends when the broadcaster stops.
#[derive(Debug)]
pub struct HeardEvents {}

impl Stream for HeardEvents {
    type Item = ServiceEvent;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<ServiceEvent>> {
        todo!()
    }
}

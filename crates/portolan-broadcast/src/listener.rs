//! What a listener gets.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use portolan_core::{ServiceAnnouncement, Ttl};

/// One announcement that was heard and believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// What it says.
    pub announcement: ServiceAnnouncement,
    /// How long it holds.
    pub ttl: Ttl,
    /// Where it came from.
    pub source: SocketAddr,
}

/// Everything heard from now on, as a stream; it ends when the broadcaster stops.
///
/// It holds a bounded number of announcements: a listener that is too slow loses the oldest.
#[derive(Debug)]
pub struct Listener {}

impl Listener {
    /// How many announcements this listener was too slow for.
    pub fn lost(&self) -> u64 {
        todo!()
    }
}

impl Stream for Listener {
    type Item = Arc<Heard>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Arc<Heard>>> {
        todo!()
    }
}

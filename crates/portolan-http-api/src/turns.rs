//! Long documents are encoded in turns, so that many of them delay no other request.
//!
//! Encoding occupies a thread of the runtime. If each reader's next piece were a task that is ready to run, a lookup would wait for all of
//! them. So only a share of the threads encodes at a time, and the readers wait in a queue, in which each piece is a place.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;

use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// The queue of a server.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

/// The pieces of a document, each encoded in a turn of its own.
#[derive(Debug)]
pub(crate) struct InTurns<I> {
    pieces: I,
    turns: PollSemaphore,
}

// === impl Turns ===

impl Turns {
    /// Half of the processors encode at a time, and one at least.
    pub(crate) fn new() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((processors / 2).max(1))))
    }

    /// Waits for a turn, which ends when it is dropped.
    pub(crate) async fn next(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }

    /// Takes each of the pieces in a turn of its own.
    pub(crate) fn of<I>(&self, pieces: I) -> InTurns<I> {
        InTurns { pieces, turns: PollSemaphore::new(Arc::clone(&self.0)) }
    }
}

// === impl InTurns ===

impl<I: Iterator + Unpin> Stream for InTurns<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<I::Item>> {
        let _turn = ready!(self.turns.poll_acquire(context));
        Poll::Ready(self.pieces.next())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn readers_take_turns_in_the_order_in_which_they_came() {
        let turns = Turns(Arc::new(Semaphore::new(1)));
        let busy = turns.next().await;
        let mut first = turns.of(1..3);
        let mut second = turns.of(11..13);
        assert_eq!(first.next().now_or_never(), None);
        assert_eq!(second.next().now_or_never(), None);
        drop(busy);
        // The second one waits for the first one, although a turn is free.
        assert_eq!(second.next().now_or_never(), None);
        assert_eq!(first.next().now_or_never(), Some(Some(1)));
        assert_eq!(second.next().now_or_never(), Some(Some(11)));
        assert_eq!(first.collect::<Vec<_>>().await, [2]);
        assert_eq!(second.collect::<Vec<_>>().await, [12]);
    }
}

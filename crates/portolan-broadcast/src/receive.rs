//! The receive loops of the sockets. A receive error is counted and retried.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::Backoff;
use portolan_metrics::BroadcastErrorKind;
use tokio::time::Instant;
use tracing::debug;

use crate::link::{Ingress, Link, Source};
use crate::node::Node;
use crate::transport::Receiver;

/// The wait after a failed receive, so that a broken socket does not use a whole processor.
const FIRST_RETRY: Duration = Duration::from_millis(10);
/// The longest such wait.
const MAX_RETRY: Duration = Duration::from_secs(1);

/// After how many datagrams the other tasks of the runtime get their turn: some ten microseconds each.
const TURN: u32 = 8;
/// A flood of datagrams that are dropped may not use a whole processor: after this many within [`FLOOD_SPAN`] the loop
/// pauses, and the kernel drops what does not fit into the queue of the socket.
const FLOOD: u32 = 64;
/// The span in which that many are a flood, and the pause.
const FLOOD_SPAN: Duration = Duration::from_millis(2);

/// Receives datagrams from the multicast channel of this link until it is dropped.
pub(crate) async fn from_channel(
    node: Arc<Node>,
    link: usize,
    channel: Box<dyn Receiver>,
    max_datagram: usize,
) {
    receive(&node, &*channel, Source { link, ingress: Ingress::Channel }, max_datagram).await;
}

/// Receives datagrams from the process's own socket of this link until it is dropped.
pub(crate) async fn from_own_socket(node: Arc<Node>, link: usize, max_datagram: usize) {
    let Some(Link { socket, .. }) = node.links.get(link) else { return };
    receive(&node, &**socket, Source { link, ingress: Ingress::Own }, max_datagram).await;
}

async fn receive<R: Receiver + ?Sized>(
    node: &Node,
    receiver: &R,
    from: Source,
    max_datagram: usize,
) {
    // One byte more than the limit: a datagram that fills the buffer is too large.
    let mut buffer = vec![0; max_datagram + 1];
    let mut backoff = Backoff::new(FIRST_RETRY, MAX_RETRY);
    let mut load = Load::default();
    loop {
        match receiver.receive(&mut buffer).await {
            Ok((size, source)) => {
                backoff.reset();
                let accepted = node.receive(&buffer[..size], source, from);
                load.record(accepted).await;
            }
            Err(error) => {
                node.metrics.broadcast_error(BroadcastErrorKind::Receive);
                debug!(%error, ?from, "Receive failed, retrying");
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }
}

/// What a receive loop has done without a pause.
#[derive(Debug, Default)]
struct Load {
    received: u32,
    /// The datagrams dropped in a row, and when the first of them was.
    dropped: u32,
    since: Option<Instant>,
}

// === impl Load ===

impl Load {
    /// Counts a datagram, and waits if the loop has done enough for now.
    async fn record(&mut self, accepted: bool) {
        self.received = (self.received + 1) % TURN;
        if accepted {
            self.dropped = 0;
        } else if self.dropped == 0 {
            (self.dropped, self.since) = (1, Some(Instant::now()));
        } else {
            self.dropped += 1;
        }
        if self.dropped >= FLOOD {
            self.dropped = 0;
            if self.since.is_some_and(|since| since.elapsed() < FLOOD_SPAN) {
                return tokio::time::sleep(FLOOD_SPAN).await;
            }
        }
        if self.received == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how long the loop pauses for these datagrams, by a paused clock.
    async fn paused(datagrams: u32, accepted: impl Fn(u32) -> bool) -> Duration {
        let (mut load, began) = (Load::default(), Instant::now());
        for number in 0..datagrams {
            load.record(accepted(number)).await;
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn flood_of_dropped_datagrams_pauses_the_loop() {
        assert_eq!(paused(FLOOD - 1, |_| false).await, Duration::ZERO);
        assert!(paused(FLOOD, |_| false).await >= FLOOD_SPAN);
    }

    #[tokio::test(start_paused = true)]
    async fn accepted_datagrams_never_pause_the_loop() {
        assert_eq!(paused(10 * FLOOD, |_| true).await, Duration::ZERO);
        assert_eq!(paused(10 * FLOOD, |number| number % 2 == 0).await, Duration::ZERO);
    }
}

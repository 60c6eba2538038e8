//! The receive loops of the sockets. A receive error is counted and retried.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::Backoff;
use portolan_metrics::BroadcastErrorKind;
use tracing::debug;

use crate::link::{Ingress, Link, Source};
use crate::node::Node;
use crate::transport::Receiver;

/// The wait after a failed receive, so that a broken socket does not use a whole processor.
const FIRST_RETRY: Duration = Duration::from_millis(10);
/// The longest such wait.
const MAX_RETRY: Duration = Duration::from_secs(1);

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
    loop {
        match receiver.receive(&mut buffer).await {
            Ok((size, source)) => {
                backoff.reset();
                node.receive(&buffer[..size], source, from);
            }
            Err(error) => {
                node.metrics.broadcast_error(BroadcastErrorKind::Receive);
                debug!(%error, ?from, "Receive failed, retrying");
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }
}

//! The receive loops of the sockets. A receive error is counted and retried.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::Backoff;
use portolan_metrics::BroadcastErrorKind;
use tracing::debug;

use crate::node::{Ingress, Node};
use crate::transport::Receiver;

/// The wait after a failed receive, so that a broken socket does not use a whole processor.
const FIRST_RETRY: Duration = Duration::from_millis(10);
/// The longest such wait.
const MAX_RETRY: Duration = Duration::from_secs(1);

/// Receives datagrams from the multicast channel until it is dropped.
pub(crate) async fn from_channel(node: Arc<Node>, channel: Box<dyn Receiver>, max_datagram: usize) {
    receive(&node, &*channel, Ingress::Channel, max_datagram).await;
}

/// Receives datagrams from the process's own socket until it is dropped.
pub(crate) async fn from_own_socket(node: Arc<Node>, max_datagram: usize) {
    receive(&node, &*node.socket, Ingress::Own, max_datagram).await;
}

async fn receive<R: Receiver + ?Sized>(
    node: &Node,
    receiver: &R,
    ingress: Ingress,
    max_datagram: usize,
) {
    // One byte more than the limit: a datagram that fills the buffer is too large.
    let mut buffer = vec![0; max_datagram + 1];
    let mut backoff = Backoff::new(FIRST_RETRY, MAX_RETRY);
    loop {
        match receiver.receive(&mut buffer).await {
            Ok((size, source)) => {
                backoff.reset();
                node.receive(&buffer[..size], source, ingress);
            }
            Err(error) => {
                node.metrics.broadcast_error(BroadcastErrorKind::Receive);
                debug!(%error, ?ingress, "Receive failed, retrying");
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }
}

//! Sends responses to queries: at once, or after a random delay if many responders are expected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use portolan_core::{Action, ServiceId, Vantage};
use portolan_metrics::BroadcastErrorKind;
use tokio::sync::mpsc;
use tokio_util::time::DelayQueue;
use tracing::debug;

use crate::node::Node;

/// The length of the queue of responses, and of the queue of delayed responses.
pub(crate) const BACKLOG: usize = 4096;

/// A response to send.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The endpoint, looked up when the response is sent, because it may change until then.
    pub(crate) service_id: ServiceId,
    /// The link that received the query.
    pub(crate) link: usize,
    /// The query.
    pub(crate) query_id: String,
    /// The address of the querier.
    pub(crate) to: SocketAddr,
    /// Whether the query came from this host.
    pub(crate) from_this_host: bool,
    /// The delay.
    pub(crate) after: Duration,
}

/// Sends each response when it is due, until it is dropped.
pub(crate) async fn send_replies(node: Arc<Node>, mut due: mpsc::Receiver<Reply>) {
    let mut later: DelayQueue<Reply> = DelayQueue::new();
    loop {
        tokio::select! {
            Some(reply) = due.recv() => match reply.after {
                Duration::ZERO => send(&node, reply).await,
                _ if later.len() >= BACKLOG => drop_reply(&node, &reply, "too many responses are queued"),
                after => drop(later.insert(reply, after)),
            },
            Some(reply) = later.next(), if !later.is_empty() => send(&node, reply.into_inner()).await,
            else => return,
        }
    }
}

// === impl Reply ===

impl Reply {
    fn vantage(&self) -> Vantage {
        match self.from_this_host {
            true => Vantage::SameHost,
            false => Vantage::OtherHost { local: None, peer: Some(self.to.ip()) },
        }
    }
}

async fn send(node: &Node, reply: Reply) {
    let Some(endpoint) = node.local.lock().get(&reply.service_id).cloned() else { return };
    let Some(endpoint) = endpoint.seen_from(reply.vantage()) else { return };
    let in_reply_to = Some(reply.query_id.as_str());
    let Some(link) = node.links.get(reply.link) else { return };
    let Ok(payload) =
        node.encoder.announcement(&link.signing(), Action::Heartbeat, endpoint, in_reply_to)
    else {
        return drop_reply(node, &reply, "the response exceeds the datagram size");
    };
    let is_open = link.keys.is_empty() && !reply.from_this_host;
    if is_open && !node.response_limit.admits(reply.to.ip().to_canonical(), payload.len()) {
        return drop_reply(node, &reply, "its host has got too many responses");
    }
    match link.socket.send_to(&payload, reply.to).await {
        Ok(()) => node.metrics.announcement_sent(Action::Heartbeat.as_str()),
        Err(error) => drop_reply(node, &reply, &error.to_string()),
    }
}

fn drop_reply(node: &Node, reply: &Reply, reason: &str) {
    node.metrics.broadcast_error(BroadcastErrorKind::Send);
    debug!(service_id = %reply.service_id, to = %reply.to, reason, "Response dropped");
}

//! One process's place on the channel.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::{Action, Scope, ServiceEndpoint, ServiceId, ServiceName};
use portolan_metrics::Metrics;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::encoder::{Encoder, TooLarge};
use crate::inflight::Inflight;
use crate::listener::Listeners;
use crate::local::{LocalEndpoints, MAX_LOCAL};
use crate::log_limit::LogLimit;
use crate::node::Node;
use crate::peers::Peers;
use crate::responder::{self, send_replies};
use crate::transport::udp::UdpTransport;
use crate::transport::{Receiver, Transport};
use crate::validate::{MAX_TEXT, Validator};
use crate::{
    AnnounceError, AnnouncementListener, BroadcastConfig, BroadcastError, PeerEvents, QueryError,
};
use crate::{query, receive};

/// A handle on the channel; clones share it. It stops when [`Broadcaster::stop`] is called or
/// the last clone goes.
#[derive(Clone)]
pub struct Broadcaster(Arc<Handle>);

/// When a query has its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryMode {
    /// At the first instance, or a moment later where a better one may follow. Instances that
    /// are critical do not answer.
    First,
    /// When nobody answers any more. Critical instances answer too.
    All,
}

struct Handle {
    node: Arc<Node>,
    announce_interval: Duration,
    is_listening: bool,
    // Aborted when the handle goes.
    tasks: Mutex<JoinSet<()>>,
}

// === impl Broadcaster ===

impl Broadcaster {
    /// Joins the channel over UDP. Must be called within a tokio runtime. A configuration that turns
    /// broadcasting off is an error, so that nobody takes silence for an answer.
    ///
    /// Where the channel's port is taken by a program that does not share it, this still
    /// succeeds, with a warning: announcing and asking need no more than a port of their own.
    pub async fn new(config: BroadcastConfig, metrics: Metrics) -> Result<Self, BroadcastError> {
        let transport = UdpTransport::new(&config)?;
        Self::with_transport(Arc::new(transport), &config, metrics)
    }

    /// Joins the channel over a transport of the caller's. Must be called within a tokio runtime.
    pub fn with_transport(
        transport: Arc<dyn Transport>,
        config: &BroadcastConfig,
        metrics: Metrics,
    ) -> Result<Self, BroadcastError> {
        config.validate()?;
        if !config.enabled {
            return Err(BroadcastError::Disabled);
        }
        let interface = || config.interface.clone();
        let socket = transport
            .open_socket()
            .map_err(|source| BroadcastError::Open { interface: interface(), source })?;
        let channel = open_channel(&*transport, config);
        let (responder, due) = mpsc::channel(responder::BACKLOG);
        let node = Arc::new(Node {
            transport,
            socket,
            encoder: Encoder::new(config)?,
            validator: Mutex::new(Validator::new(config)),
            peers: Arc::new(Peers::new(config.max_heard)),
            local: Mutex::new(LocalEndpoints::default()),
            listeners: Listeners::new(),
            inflight: Arc::new(Inflight::default()),
            responder,
            metrics,
            log_limit: LogLimit::default(),
            stopped: CancellationToken::new(),
        });
        Ok(Self(Arc::new(Handle {
            is_listening: channel.is_some(),
            announce_interval: config.announce_interval,
            tasks: Mutex::new(tasks(&node, channel, due, config.max_datagram)),
            node,
        })))
    }

    /// Whether the channel itself is heard: without it there is no listening and no answering.
    pub fn is_listening(&self) -> bool {
        self.0.is_listening
    }

    /// How often whoever keeps an endpoint is to announce it anew (`broadcast.announce_interval`).
    pub fn announce_interval(&self) -> Duration {
        self.0.announce_interval
    }

    /// Tells the channel what an instance does. A loopback endpoint goes out on loopback only.
    pub async fn announce(
        &self,
        action: Action,
        endpoint: &ServiceEndpoint,
    ) -> Result<(), AnnounceError> {
        let node = self.running().ok_or(AnnounceError::Stopped)?;
        let payload = node
            .encoder
            .announcement(action, endpoint.clone(), None)
            .map_err(|error| too_large(endpoint, error))?;
        // The same message everywhere: whoever hears it twice knows that it is one.
        let destinations = node.reaches_for(endpoint).iter();
        let messages: Vec<_> = destinations.map(|&reach| (reach, payload.as_slice())).collect();
        node.multicast(&messages).await.map_err(AnnounceError::Send)?;
        node.metrics.announcement_sent(action.as_str());
        debug!(
            service_name = %endpoint.name,
            service_id = %endpoint.id,
            port = endpoint.port,
            protocol = %endpoint.protocol,
            %action,
            "announced"
        );
        Ok(())
    }

    /// Answers queries for the endpoint from now on; held before, it is replaced.
    pub fn publish(&self, endpoint: ServiceEndpoint) -> Result<(), AnnounceError> {
        let node = self.running().ok_or(AnnounceError::Stopped)?;
        // An answer is larger than an announcement by the query's id, which the asker chooses.
        let in_reply_to = Some("x".repeat(MAX_TEXT));
        node.encoder
            .announcement(Action::Heartbeat, endpoint.clone(), in_reply_to)
            .map_err(|error| too_large(&endpoint, error))?;
        match node.local.lock().hold(endpoint) {
            true => Ok(()),
            false => Err(AnnounceError::TooManyPublished { limit: MAX_LOCAL }),
        }
    }

    /// Answers for the instance no longer. Whether it was held.
    pub fn unpublish(&self, id: &ServiceId) -> bool {
        self.0.node.local.lock().unpublish(id)
    }

    /// Everything heard from now on.
    pub fn listen(&self) -> AnnouncementListener {
        let Node { listeners, metrics, .. } = &*self.0.node;
        listeners.listen(metrics.clone())
    }

    /// The instances heard, and their changes: revision 0, as there is no order to resume from.
    pub fn watch_peers(&self) -> PeerEvents {
        PeerEvents::new(Arc::clone(&self.0.node.peers))
    }

    /// Asks who has the service (any, where no name is given) in one of the scopes (all, where none
    /// is given), for at most `wait`. The answer is in order: by scope as asked, then by health;
    /// empty where nobody answered.
    ///
    /// Instances that were announced but do not answer are part of it while their TTL lasts: for
    /// [`QueryMode::First`] only where nobody answers.
    pub async fn query(
        &self,
        name: Option<&ServiceName>,
        scopes: &[Scope],
        wait: Duration,
        enough: QueryMode,
    ) -> Result<Vec<ServiceEndpoint>, QueryError> {
        query::ask(&self.0.node, name, scopes, wait, enough).await
    }

    /// Leaves the channel: ends every stream and joins every task. Announces nothing.
    pub async fn stop(&self) {
        self.0.node.close();
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock());
        tasks.shutdown().await;
    }

    fn running(&self) -> Option<&Node> {
        let node = &*self.0.node;
        (!node.stopped.is_cancelled()).then_some(node)
    }
}

impl fmt::Debug for Broadcaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcaster")
            .field("transport", &self.0.node.transport)
            .field("is_listening", &self.0.is_listening)
            .finish_non_exhaustive()
    }
}

// === impl Handle ===

impl Drop for Handle {
    fn drop(&mut self) {
        self.node.close();
    }
}

fn open_channel(transport: &dyn Transport, config: &BroadcastConfig) -> Option<Box<dyn Receiver>> {
    let address = config.multicast_address;
    transport
        .open_channel()
        .inspect_err(|error| {
            warn!(%address, %error, "cannot hear the broadcast channel, announcing and asking only");
        })
        .ok()
}

/// Everything that runs beside the callers; nothing of it outlives the set.
fn tasks(
    node: &Arc<Node>,
    channel: Option<Box<dyn Receiver>>,
    due: mpsc::Receiver<responder::Reply>,
    max_datagram: usize,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let peers = Arc::clone(&node.peers);
    tasks.spawn(async move { peers.keep_expiring().await });
    tasks.spawn(send_replies(Arc::clone(node), due));
    tasks.spawn(receive::from_own_socket(Arc::clone(node), max_datagram));
    if let Some(channel) = channel {
        tasks.spawn(receive::from_channel(Arc::clone(node), channel, max_datagram));
    }
    tasks
}

fn too_large(endpoint: &ServiceEndpoint, TooLarge { size, limit }: TooLarge) -> AnnounceError {
    AnnounceError::TooLarge { service_id: endpoint.id.clone(), size, limit }
}

#[cfg(test)]
mod tests;

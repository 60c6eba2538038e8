//! The broadcaster: the handle of a process on the broadcast channel.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::{Action, Scope, ServiceEndpoint, ServiceId, ServiceName};
use portolan_metrics::Metrics;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::encoder::{Encoder, TooLarge};
use crate::inflight::Inflight;
use crate::link::Links;
use crate::listener::Listeners;
use crate::local::{LocalEndpoints, MAX_LOCAL};
use crate::log_limit::LogLimit;
use crate::node::Node;
use crate::peers::Peers;
use crate::query;
use crate::reach::{Reach, follow};
use crate::receive::{ReceiveRuntime, ReceiveThread, Receivers};
use crate::responder::{self, send_replies};
use crate::response_limit::ResponseLimit;
use crate::transport::Transport;
use crate::transport::udp::UdpTransport;
use crate::validate::MAX_TEXT;
use crate::{
    AnnounceError, AnnouncementListener, BroadcastConfig, BroadcastError, PeerEvents, QueryError,
};

/// How long after an announcement its copy for the IPv6 group that accompanies another is sent: longer than
/// a receiver takes from one socket to the next.
const COMPANION_DELAY: Duration = Duration::from_millis(20);

/// A handle on the channel; clones share it. It stops when [`Broadcaster::stop`] is called or
/// the last clone is dropped.
#[derive(Clone)]
pub struct Broadcaster(Arc<Handle>);

/// When a query is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryMode {
    /// With the first instance, or a moment later if a better one may follow. Critical instances do not
    /// respond.
    First,
    /// When no more responses arrive. Critical instances respond too.
    All,
}

struct Handle {
    node: Arc<Node>,
    announce_interval: Duration,
    is_listening: bool,
    reach: watch::Receiver<Reach>,
    // Aborted when the handle is dropped.
    tasks: Mutex<JoinSet<()>>,
    // Joined when the handle is dropped.
    receiving: Option<Arc<ReceiveThread>>,
}

// === impl Broadcaster ===

impl Broadcaster {
    /// Joins the channel over UDP. Must be called within a tokio runtime. It is an error if the
    /// configuration turns broadcasting off, so that silence is not taken for a result.
    ///
    /// If the channel's port is in use by a program that does not share it, this succeeds with a warning:
    /// announcements and queries need only a port of their own. A thread of its own receives, so that a flood of datagrams
    /// does not keep the caller's runtime busy.
    pub async fn new(config: BroadcastConfig, metrics: Metrics) -> Result<Self, BroadcastError> {
        check(&config)?;
        let runtime = ReceiveRuntime::new().map_err(BroadcastError::Thread)?;
        let links = runtime.within(|| open(&config))?;
        Self::with_links(links, Some(runtime), metrics)
    }

    /// Checks that the channel can be joined: the configuration, the files of its keys and its sockets, which are closed again.
    /// It blocks for as long as that takes.
    ///
    /// # Errors
    /// The channel cannot be joined, or is turned off.
    pub fn check(config: &BroadcastConfig) -> Result<(), BroadcastError> {
        check(config)?;
        let runtime = ReceiveRuntime::new().map_err(BroadcastError::Thread)?;
        runtime.within(|| open(config).map(drop))
    }

    /// Joins the first channel of the configuration over this transport. Must be called within a tokio runtime.
    pub fn with_transport(
        transport: Arc<dyn Transport>,
        config: &BroadcastConfig,
        metrics: Metrics,
    ) -> Result<Self, BroadcastError> {
        check(config)?;
        let mut links = Links::new(config);
        if let Some(channel) = config.channels().first() {
            links.add(transport, channel)?;
        }
        Self::with_links(links, None, metrics)
    }

    /// Without a runtime to receive in, tasks of the current one receive.
    fn with_links(
        links: Links<'_>,
        receive_in: Option<ReceiveRuntime>,
        metrics: Metrics,
    ) -> Result<Self, BroadcastError> {
        let config = links.config;
        let (responder, due) = mpsc::channel(responder::BACKLOG);
        let node = Arc::new(Node {
            links: links.links,
            encoder: Encoder::new(config)?,
            peers: Arc::new(Peers::new(config.max_heard)),
            local: Mutex::new(LocalEndpoints::default()),
            listeners: Listeners::new(),
            inflight: Arc::new(Inflight::default()),
            responder,
            metrics,
            log_limit: LogLimit::default(),
            response_limit: ResponseLimit::default(),
            stopped: CancellationToken::new(),
        });
        let (sender, reach) = watch::channel(node.reach());
        let is_listening = !links.channels.is_empty();
        let mut tasks = tasks(&node, due);
        tasks.spawn(follow(Arc::clone(&node), sender));
        let (channels, max_datagram) = (links.channels, config.max_datagram);
        let receivers = Receivers { node: Arc::clone(&node), channels, max_datagram };
        let receiving = match receive_in {
            Some(runtime) => {
                let thread = ReceiveThread::spawn(runtime, receivers.run_on_own_thread());
                Some(Arc::new(thread.map_err(BroadcastError::Thread)?))
            }
            None => {
                receivers.spawn(&mut tasks);
                None
            }
        };
        Ok(Self(Arc::new(Handle {
            is_listening,
            announce_interval: config.announce_interval,
            tasks: Mutex::new(tasks),
            receiving,
            reach,
            node,
        })))
    }

    /// Returns whether the channel is received. Otherwise this process neither listens nor responds.
    pub fn is_listening(&self) -> bool {
        self.0.is_listening
    }

    /// Returns whether the channel reaches other hosts: it has an interface besides loopback, or peers.
    pub fn reaches_other_hosts(&self) -> bool {
        self.0.node.links.iter().any(|link| link.networks().next().is_some())
    }

    /// Returns the hosts that the channel reaches, and its changes.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.0.reach.clone()
    }

    /// Reads the interfaces of this host again now. They are read after each change anyway, in the
    /// background.
    pub fn refresh(&self) {
        self.0.node.refresh();
    }

    /// Returns the interval at which an endpoint is to be announced (`broadcast.announce_interval`).
    pub fn announce_interval(&self) -> Duration {
        self.0.announce_interval
    }

    /// Announces an instance. A loopback endpoint is announced on loopback only.
    pub async fn announce(
        &self,
        action: Action,
        endpoint: &ServiceEndpoint,
    ) -> Result<(), AnnounceError> {
        let node = self.running().ok_or(AnnounceError::Stopped)?;
        // Copies with one stamp are one message to a receiver that hears several of them.
        let stamp = node.encoder.next_stamp();
        let mut copies = Vec::new();
        for (target, copy) in node.copies(endpoint) {
            let signing = &node.link(target).signing();
            let encoded = node.encoder.stamped_announcement(signing, stamp, action, copy, None);
            copies.push((target, encoded.map_err(|error| too_large(endpoint, error))?));
        }
        let messages = copies.iter().map(|(target, payload)| (*target, &**payload));
        let (later, first): (Vec<_>, Vec<_>) =
            messages.partition(|(target, _)| node.link(*target).is_companion);
        node.multicast(&first).await.map_err(AnnounceError::Send)?;
        if !later.is_empty() {
            // The copy that arrives first counts, and on a host with both families it is the IPv4 one.
            if node.has_main_network() {
                tokio::time::sleep(COMPANION_DELAY).await;
            }
            // A host on both has heard it already.
            _ = node.multicast(&later).await;
        }
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

    /// Publishes the endpoint, or replaces it: queries for it are answered from now on.
    pub fn publish(&self, endpoint: ServiceEndpoint) -> Result<(), AnnounceError> {
        let node = self.running().ok_or(AnnounceError::Stopped)?;
        // A response is larger than an announcement by the id of the query, which the querier chooses.
        let longest_id = "x".repeat(MAX_TEXT);
        let mut largest = 0;
        for link in &node.links {
            let response = node
                .encoder
                .announcement(
                    &link.signing(),
                    Action::Heartbeat,
                    endpoint.clone(),
                    Some(&longest_id),
                )
                .map_err(|error| too_large(&endpoint, error))?;
            largest = largest.max(response.len());
        }
        match node.local.lock().publish(endpoint, largest) {
            true => Ok(()),
            false => Err(AnnounceError::TooManyPublished { limit: MAX_LOCAL }),
        }
    }

    /// Stops answering queries for the instance; returns whether it was published.
    pub fn unpublish(&self, id: &ServiceId) -> bool {
        self.0.node.local.lock().unpublish(id)
    }

    /// Returns a stream of the announcements received from now on.
    pub fn listen(&self) -> AnnouncementListener {
        let Node { listeners, metrics, .. } = &*self.0.node;
        listeners.listen(metrics.clone())
    }

    /// Returns a stream of the announced instances and their changes, with revision 0, because a watch
    /// cannot resume.
    pub fn watch_peers(&self) -> PeerEvents {
        PeerEvents::new(Arc::clone(&self.0.node.peers))
    }

    /// Queries the instances of a service, or of every service, in these scopes, or in all if there are
    /// none, for at most `wait`. The result is sorted by scope in the order of the query, then by health, and
    /// empty without responses.
    ///
    /// Instances that were announced and do not respond are part of it until their TTL ends; with
    /// [`QueryMode::First`] only if there is no response.
    pub async fn query(
        &self,
        name: Option<&ServiceName>,
        scopes: &[Scope],
        wait: Duration,
        enough: QueryMode,
    ) -> Result<Vec<ServiceEndpoint>, QueryError> {
        query::query(&self.0.node, name, scopes, wait, enough).await
    }

    /// Leaves the channel: ends every stream and joins every task and thread. It announces nothing.
    pub async fn stop(&self) {
        self.0.node.close();
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock());
        tasks.shutdown().await;
        if let Some(receiving) = self.0.receiving.clone() {
            _ = tokio::task::spawn_blocking(move || receiving.join()).await;
        }
    }

    fn running(&self) -> Option<&Node> {
        let node = &*self.0.node;
        (!node.stopped.is_cancelled()).then_some(node)
    }
}

impl fmt::Debug for Broadcaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcaster")
            .field("links", &self.0.node.links)
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

fn check(config: &BroadcastConfig) -> Result<(), BroadcastError> {
    config.validate()?;
    if config.enabled { Ok(()) } else { Err(BroadcastError::Disabled) }
}

/// Opens the sockets of the channels, within the runtime that receives from them.
fn open(config: &BroadcastConfig) -> Result<Links<'_>, BroadcastError> {
    let mut links = Links::new(config);
    for channel in config.channels() {
        let transport: Arc<dyn Transport> = Arc::new(UdpTransport::of_channel(&channel, config)?);
        match links.add(transport, &channel) {
            // A host without IPv6.
            Err(error) if channel.is_companion => debug!(%error, "IPv6 group not used"),
            added => added?,
        }
    }
    Ok(links)
}

/// Spawns the tasks of a broadcaster, which end with the set.
fn tasks(node: &Arc<Node>, due: mpsc::Receiver<responder::Reply>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let peers = Arc::clone(&node.peers);
    tasks.spawn(async move { peers.keep_expiring().await });
    tasks.spawn(send_replies(Arc::clone(node), due));
    tasks
}

fn too_large(endpoint: &ServiceEndpoint, TooLarge { size, limit }: TooLarge) -> AnnounceError {
    AnnounceError::TooLarge { service_id: endpoint.id.clone(), size, limit }
}

#[cfg(test)]
mod tests;

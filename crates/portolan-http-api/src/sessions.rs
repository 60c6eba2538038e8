//! The sessions of agents, and what happens when one ends.
//!
//! The kernel closes the connections of a process that ends, however it ends, so the end of a session is the first sign of a
//! crash. It is no proof: a network may have failed, or only the agent may have ended while its program goes on. So the
//! registry asks the instance's addresses at once. If all refuse, the program is gone, and so is the instance. A host or a
//! network that has failed does not answer; then the TTL decides, as without a session.
//!
//! A refusal counts only from an address that accepted a connection of this server during the session: it is not a firewall's
//! then, nor that of a container behind another network stack.

mod ended;
mod settings;

use std::net::SocketAddr;
use std::sync::Arc;

use portolan_core::{IpNetwork, ServiceEndpoint};
use portolan_health::ProbeOutcome;
use portolan_metrics::Metrics;
use portolan_registry::{AgentSessionId, CommandTarget, Registry, SettingsKey, SettingsVersions};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::probing::{Addresses, Place, ask_each};
use ended::Ended;
pub use ended::SessionsTask;
use settings::FollowedVersion;

/// How many ended sessions wait to be examined. The instances of those beyond it expire at their TTL.
const QUEUE: usize = 4096;

/// Holds the sessions of agents. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    registry: Registry,
    /// Where everyone's instances may be asked.
    allowed: Arc<[IpNetwork]>,
    ended: mpsc::Sender<Ended>,
    versions: watch::Receiver<SettingsVersions>,
    metrics: Metrics,
}

/// The session of an instance. If it is dropped before it is finished, the client has closed it.
#[derive(Debug)]
pub(crate) struct Session {
    sessions: Sessions,
    target: CommandTarget,
    id: AgentSessionId,
    /// Where the instance was when its addresses were asked.
    place: Option<Place>,
    /// The addresses that accepted a connection.
    accepted: Vec<SocketAddr>,
    version: FollowedVersion,
    shutdown: CancellationToken,
    is_finished: bool,
}

// === impl Sessions ===

impl Sessions {
    /// Creates a holder of sessions. Instances are asked at the address that registered them, and in these networks. The caller
    /// runs the task.
    pub fn new(
        registry: Registry,
        allowed: impl Into<Arc<[IpNetwork]>>,
        metrics: Metrics,
    ) -> (Self, SessionsTask) {
        let (sender, ended) = mpsc::channel(QUEUE);
        let (publish, versions) = watch::channel(SettingsVersions::default());
        let task =
            SessionsTask { registry: registry.clone(), ended, publish, metrics: metrics.clone() };
        (Self { registry, allowed: allowed.into(), ended: sender, versions, metrics }, task)
    }

    pub(crate) fn begin(
        &self,
        target: CommandTarget,
        id: AgentSessionId,
        shutdown: CancellationToken,
    ) -> Session {
        let (sessions, accepted) = (self.clone(), Vec::new());
        let version = FollowedVersion::new(self.versions.clone());
        let place = None;
        Session { sessions, target, id, place, accepted, version, shutdown, is_finished: false }
    }
}

// === impl Session ===

impl Session {
    /// Asks the addresses of the instance which of them accept a connection.
    pub(crate) async fn ask(&mut self) {
        let Some(endpoint) = self.registered() else { return };
        let Sessions { registry, allowed, .. } = &self.sessions;
        let addresses = Addresses::of(&endpoint, registry, allowed).await.into_list();
        let outcomes = ask_each(&addresses).await;
        let accepts =
            |(_, outcome): &(SocketAddr, ProbeOutcome)| *outcome == ProbeOutcome::Accepted;
        let asked = addresses.into_iter().zip(outcomes);
        self.set_accepted(asked.filter(accepts).map(|(address, _)| address).collect());
        self.place = Some(Place::of(&endpoint));
    }

    /// Whether an address has accepted a connection, so that its refusal will count.
    pub(crate) fn is_answered(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// Whether the instance is registered by the incarnation that holds the session.
    pub(crate) fn is_of_registration(&self) -> bool {
        self.registered().is_some()
    }

    /// Whether the instance has other addresses than those that were asked, which are forgotten then.
    pub(crate) fn has_moved(&mut self) -> bool {
        let now = self.registered().map(|endpoint| Place::of(&endpoint));
        let has_moved = self.place.is_some() && self.place != now;
        if has_moved {
            self.set_accepted(Vec::new());
        }
        has_moved
    }

    /// Returns the version of the settings of the service, if the agent has not been told.
    pub(crate) fn settings_version(&mut self) -> Option<u64> {
        let key = self.settings_key()?;
        self.version.news(&key)
    }

    /// Waits until there is a version that the agent has not been told. Cancel-safe.
    pub(crate) async fn settings_changed(&mut self) {
        match self.settings_key() {
            Some(key) => self.version.changed(&key).await,
            None => std::future::pending().await,
        }
    }

    fn settings_key(&self) -> Option<SettingsKey> {
        let endpoint = self.registered()?;
        Some(SettingsKey { scope: endpoint.scope.clone(), name: endpoint.name.clone() })
    }

    /// The server ends the session, which says nothing about the instance.
    pub(crate) fn finish(&mut self) {
        self.is_finished = true;
    }

    fn set_accepted(&mut self, accepted: Vec<SocketAddr>) {
        let (before, now) = (self.is_answered(), !accepted.is_empty());
        if before != now {
            self.sessions.metrics.session_held(now);
        }
        self.accepted = accepted;
    }

    fn registered(&self) -> Option<Arc<ServiceEndpoint>> {
        let CommandTarget { id, incarnation } = &self.target;
        let endpoint = self.sessions.registry.get(id)?;
        (incarnation.is_none() || endpoint.incarnation == *incarnation).then_some(endpoint)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let accepted = self.accepted.clone();
        self.set_accepted(Vec::new());
        // A server that ends closes all connections.
        if self.is_finished || self.shutdown.is_cancelled() || accepted.is_empty() {
            return;
        }
        let Some(place) = self.place.take() else { return };
        let ended = Ended { target: self.target.clone(), session: self.id, place, accepted };
        if let Err(mpsc::error::TrySendError::Full(ended)) = self.sessions.ended.try_send(ended) {
            warn!(
                service_id = %ended.target.id,
                "Too many sessions end at once, the instance expires at the end of its TTL"
            );
        }
    }
}

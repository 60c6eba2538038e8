//! How an agent is put together and started.

use std::time::Duration;

use jiff::Timestamp;
use portolan_broadcast::{AnnounceError, Broadcaster};
use portolan_client::{RegistryClient, RegistryClientError};
use portolan_core::endpoint::CHECKED_BY_AGENT;
use portolan_core::{
    Action, HealthReport, InvalidRegistration, Registration, ServiceEndpoint, ServiceId, Ttl,
};
use portolan_health::{CheckSpec, HealthConfig, HealthMonitor};
use portolan_metrics::Metrics;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::broadcast_link::BroadcastLink;
use crate::registry_link::RegistryLink;
use crate::{Agent, AgentError};

/// The heartbeat interval without a broadcast channel: 30 s, the announce
/// interval of the specification.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How many health reports may wait; the monitor waits with the next.
const REPORTS: usize = 16;

/// What an agent is put together from.
#[derive(Debug)]
#[must_use = "an agent does nothing until it is started"]
pub struct AgentBuilder {
    registration: Registration,
    registry: Option<RegistryClient>,
    broadcaster: Option<Broadcaster>,
    check: CheckSpec,
    health: HealthConfig,
    metrics: Metrics,
    heartbeat: Option<Duration>,
}

/// The parts of an agent that has started.
pub(crate) struct Started {
    pub(crate) desired: watch::Sender<ServiceEndpoint>,
    pub(crate) check: CheckSpec,
    pub(crate) monitor: HealthMonitor,
    pub(crate) reports: mpsc::Receiver<(ServiceId, HealthReport)>,
    pub(crate) registry: Option<(RegistryLink, Result<(), RegistryClientError>)>,
    pub(crate) broadcast: Option<(BroadcastLink, Result<(), AnnounceError>)>,
}

// === impl AgentBuilder ===

impl AgentBuilder {
    pub(crate) fn new(registration: Registration) -> Self {
        Self {
            registration,
            registry: None,
            broadcaster: None,
            check: CheckSpec::none(),
            health: HealthConfig::default(),
            metrics: Metrics::new(),
            heartbeat: None,
        }
    }

    /// The registry to register with, where there is one.
    pub fn registry(mut self, registry: impl Into<Option<RegistryClient>>) -> Self {
        self.registry = registry.into();
        self
    }

    /// The channel to announce on, where there is one.
    pub fn broadcaster(mut self, broadcaster: impl Into<Option<Broadcaster>>) -> Self {
        self.broadcaster = broadcaster.into();
        self
    }

    /// How to check its health; where nothing is said, that is left to others.
    pub fn check(mut self, check: impl Into<Option<CheckSpec>>) -> Self {
        self.check = check.into().unwrap_or_else(CheckSpec::none);
        self
    }

    /// How often to check, and what the findings mean.
    pub fn health(mut self, health: HealthConfig) -> Self {
        self.health = health;
        self
    }

    /// Where checks are counted.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// The maximum heartbeat interval, at least 10 ms. Default: the channel's
    /// announce interval, else 30 s. In any case three come within the service's TTL.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }

    /// Registers the service, announces it, and keeps both up. Must be called within a tokio
    /// runtime.
    ///
    /// A registry that cannot be reached is a warning where the broadcast channel took the
    /// service, and is tried again in the background; one that refuses is an error, as trying
    /// again would not help.
    pub async fn start(self) -> Result<Agent, AgentError> {
        let endpoint = describe(self.registration, &self.check)?;
        let owns_health = !self.check.is_none();
        let heartbeat = self.heartbeat.unwrap_or_else(|| {
            self.broadcaster.as_ref().map_or(HEARTBEAT, Broadcaster::announce_interval)
        });
        let desired = watch::Sender::new(endpoint);
        let mut registry = self
            .registry
            .map(|client| RegistryLink::new(client, desired.subscribe(), heartbeat, owns_health));
        let mut broadcast = self
            .broadcaster
            .map(|broadcaster| BroadcastLink::new(broadcaster, desired.subscribe(), heartbeat));
        let registered = match &mut registry {
            Some(link) => Some(link.reconcile(false).await),
            None => None,
        };
        let registered = registered.map(only_temporary).transpose()?;
        let announced = match &mut broadcast {
            Some(link) => Some(link.announce(Action::Register).await),
            None => None,
        };
        let (registered, announced) = is_published(&desired.borrow(), registered, announced)?;
        let (sender, reports) = mpsc::channel(REPORTS);
        Ok(Agent::run(Started {
            monitor: HealthMonitor::new(self.health, self.metrics, sender),
            desired,
            check: self.check,
            reports,
            registry: registry.zip(registered),
            broadcast: broadcast.zip(announced),
        }))
    }
}

/// The service as it is to be found: with its id and TTL written out, so that registry and channel
/// get the same, and with what follows from its being checked here.
pub(crate) fn describe(
    mut registration: Registration,
    check: &CheckSpec,
) -> Result<ServiceEndpoint, InvalidRegistration> {
    if !check.is_none() {
        let (key, value) = CHECKED_BY_AGENT;
        registration.metadata.insert(key.to_owned(), value.to_owned());
        if registration.health_url.is_none() {
            registration.health_url = check.health_url(&registration.host, registration.port);
        }
    }
    registration.validate()?;
    Ok(registration.into_endpoint(Ttl::DEFAULT, Timestamp::now()))
}

type Told<E> = Result<(), E>;

/// Ends it where trying again would not help.
fn only_temporary(
    registered: Told<RegistryClientError>,
) -> Result<Told<RegistryClientError>, RegistryClientError> {
    match registered {
        Err(error) if !error.is_temporary() => Err(error),
        other => Ok(other),
    }
}

type Both = (Option<Told<RegistryClientError>>, Option<Told<AnnounceError>>);

/// Goes on where at least one of the two took the service.
fn is_published(
    endpoint: &ServiceEndpoint,
    registered: Option<Told<RegistryClientError>>,
    announced: Option<Told<AnnounceError>>,
) -> Result<Both, AgentError> {
    match (registered, announced) {
        (None, None) => Err(AgentError::NoPublishTarget { service_id: endpoint.id.clone() }),
        (Some(Err(error)), None) => Err(error.into()),
        (Some(Err(error)), Some(Err(other))) => {
            warn!(service_id = %endpoint.id, error = %other, "Service not announced either");
            Err(error.into())
        }
        (None, Some(Err(error))) => Err(error.into()),
        told => Ok(told),
    }
}

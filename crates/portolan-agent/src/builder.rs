//! The builder of an agent.

use std::time::Duration;

use jiff::Timestamp;
use portolan_broadcast::{AnnounceError, Broadcaster};
use portolan_client::{RegistryClient, RegistryClientError};
use portolan_core::endpoint::CHECKED_BY_AGENT;
use portolan_core::{
    Action, Host, Incarnation, InvalidRegistration, Registration, Remedy, ServiceEndpoint, Ttl,
    quoted,
};
use portolan_health::{CheckSpec, HealthConfig, HealthEvent, HealthMonitor, LastResults};
use portolan_metrics::Metrics;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::addresses::{AddressUpdates, AdvertisedAddresses, with_advertised_addresses};
use crate::broadcast_link::BroadcastLink;
use crate::host::resolved_loopback;
use crate::registry_link::RegistryLink;
use crate::{Agent, AgentError};

/// The heartbeat interval without a broadcast channel: 30 s, the announce interval of the
/// specification.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// The capacity of the queue of health reports. The monitor waits while the queue is full.
const REPORTS: usize = 16;

/// Builds an [`Agent`].
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
    addresses: AdvertisedAddresses,
}

/// The parts of an agent that has started.
pub(crate) struct Started {
    pub(crate) desired: watch::Sender<ServiceEndpoint>,
    pub(crate) check: CheckSpec,
    pub(crate) monitor: HealthMonitor,
    pub(crate) events: mpsc::Receiver<HealthEvent>,
    pub(crate) registry: Option<(RegistryLink, Registered)>,
    pub(crate) broadcast: Option<(BroadcastLink, Announced)>,
    pub(crate) addresses: Option<AddressUpdates>,
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
            addresses: AdvertisedAddresses::Host,
        }
    }

    /// Sets the registry to register with. Default: none.
    pub fn registry(mut self, registry: impl Into<Option<RegistryClient>>) -> Self {
        self.registry = registry.into();
        self
    }

    /// Sets the broadcast channel to announce on. Default: none.
    pub fn broadcaster(mut self, broadcaster: impl Into<Option<Broadcaster>>) -> Self {
        self.broadcaster = broadcaster.into();
        self
    }

    /// Sets the health check. Default: none, so the registry may check the health.
    pub fn check(mut self, check: impl Into<Option<CheckSpec>>) -> Self {
        self.check = check.into().unwrap_or_else(CheckSpec::none);
        self
    }

    /// Sets the intervals and thresholds of health checks.
    pub fn health(mut self, health: HealthConfig) -> Self {
        self.health = health;
        self
    }

    /// Sets the metrics that count checks.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sets the maximum heartbeat interval, at least 10 ms. Default: the channel's announce interval,
    /// or 30 s without a channel. At least three heartbeats are sent within the service's TTL.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }

    /// Sets which addresses of this host are published; they follow the interfaces of this host.
    /// Default: the host of the registration.
    pub fn addresses(mut self, addresses: AdvertisedAddresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// Registers and announces the service, and starts the tasks that keep it published. Must be
    /// called within a tokio runtime.
    ///
    /// If the registry is unreachable or the announcement fails, the agent logs a warning and retries in
    /// the background: a program must not end because a registry is away.
    ///
    /// # Errors
    ///
    /// If the registration is invalid, the registry refuses it, or there is neither a registry nor a
    /// channel.
    pub async fn start(mut self) -> Result<Agent, AgentError> {
        let id_is_derived = self.registration.id.is_none();
        let incarnation = *self.registration.incarnation.get_or_insert_with(Incarnation::random);
        let registry_url = self.registry.as_ref().map(RegistryClient::urls);
        self.registration.host = resolved_loopback(self.registration.host).await;
        let registration =
            with_advertised_addresses(self.registration, self.addresses, registry_url.as_deref())
                .await;
        let endpoint = desired_endpoint(registration, &self.check)?;
        if self.registry.is_none() && self.broadcaster.is_none() {
            return Err(AgentError::NoPublishTarget { service_id: endpoint.id });
        }
        let results = LastResults::default();
        let checks = (!self.check.is_none()).then(|| results.clone());
        let heartbeat = self.heartbeat.unwrap_or_else(|| {
            self.broadcaster.as_ref().map_or(HEARTBEAT, Broadcaster::announce_interval)
        });
        let desired = watch::Sender::new(endpoint);
        let mut registry = self.registry.map(|client| {
            let client = client.with_incarnation(incarnation);
            RegistryLink::new(client, desired.clone(), heartbeat, checks.clone())
        });
        let broadcaster = self.broadcaster.clone();
        let mut broadcast = self
            .broadcaster
            .map(|broadcaster| BroadcastLink::new(broadcaster, desired.subscribe(), heartbeat));
        let registered = match &mut registry {
            Some(link) => Some(first_registration(link, &desired, id_is_derived).await),
            None => None,
        };
        // The service may get another address, and be accepted with that.
        let may_move = self.addresses != AdvertisedAddresses::Host
            && desired.borrow().hosts().all(Host::is_loopback);
        let registered =
            registered.map(|registered| check_permanent(registered, may_move)).transpose()?;
        let announced = match &mut broadcast {
            Some(link) => Some(link.announce(Action::Register).await),
            None => None,
        };
        warn_unless_published(&desired.borrow(), registered.as_ref(), announced.as_ref());
        let (sender, events) = mpsc::channel(REPORTS);
        let monitor = HealthMonitor::recording(self.health, self.metrics, sender, results);
        let updates = AddressUpdates {
            advertised: self.addresses,
            registry_url,
            broadcaster,
            monitor: monitor.clone(),
            check: self.check.clone(),
            desired: desired.clone(),
        };
        Ok(Agent::run(Started {
            monitor,
            addresses: (self.addresses != AdvertisedAddresses::Host).then_some(updates),
            desired,
            check: self.check,
            events,
            registry: registry.zip(registered),
            broadcast: broadcast.zip(announced),
        }))
    }
}

/// Returns the endpoint to publish: the registration with its id and TTL, so that registry and
/// channel get the same, and with the metadata and URL of the agent's health check.
pub(crate) fn desired_endpoint(
    mut registration: Registration,
    check: &CheckSpec,
) -> Result<ServiceEndpoint, InvalidRegistration> {
    if !check.is_none() {
        let (key, value) = CHECKED_BY_AGENT;
        let given = registration.metadata.insert(key.to_owned(), value.to_owned());
        if let Some(given) = given.filter(|given| given != value) {
            return Err(InvalidRegistration::ReservedKey { key, value: quoted(&given) });
        }
        if registration.health_url.is_none() {
            registration.health_url = check.health_url(&registration.host, registration.port);
        }
    }
    registration.validate()?;
    Ok(registration.into_endpoint(Ttl::DEFAULT, Timestamp::now()))
}

type Registered = Result<(), RegistryClientError>;
type Announced = Result<(), AnnounceError>;

/// Registers the service. Its derived id may belong to an instance that began at this address and has another
/// one now; then the service gets an id of its own.
async fn first_registration(
    link: &mut RegistryLink,
    desired: &watch::Sender<ServiceEndpoint>,
    id_is_derived: bool,
) -> Registered {
    let registered = link.reconcile(false).await;
    let is_taken = id_is_derived && matches!(registered, Err(RegistryClientError::Conflict { .. }));
    if !is_taken || !link.id_is_of_another_address().await {
        return registered;
    }
    let endpoint = desired.borrow().clone();
    let incarnation = endpoint.incarnation.unwrap_or_else(Incarnation::random);
    let Ok(id) = format!("{}-{incarnation}", endpoint.id).parse() else { return registered };
    desired.send_modify(|endpoint| endpoint.id = id);
    link.reconcile(false).await
}

/// Returns an error if the registration failed permanently. One that may come from another address is permanently
/// rejected only if the token is not accepted.
fn check_permanent(
    registered: Registered,
    may_move: bool,
) -> Result<Registered, RegistryClientError> {
    match registered {
        Err(error @ RegistryClientError::NotPermitted { .. }) => Err(error),
        Err(error) if !may_move && !error.is_temporary() => Err(error),
        other => Ok(other),
    }
}

/// Logs a warning if neither the registry nor the channel accepted the service.
fn warn_unless_published(
    endpoint: &ServiceEndpoint,
    registered: Option<&Registered>,
    announced: Option<&Announced>,
) {
    if matches!(registered, Some(Ok(()))) || matches!(announced, Some(Ok(()))) {
        return;
    }
    let registry = registered.and_then(|result| result.as_ref().err()).map(Remedy::with_remedy);
    let channel = announced.and_then(|result| result.as_ref().err()).map(Remedy::with_remedy);
    let error = registry.into_iter().chain(channel).collect::<Vec<_>>().join("; ");
    warn!(service_id = %endpoint.id, error, "Service not published yet, trying again");
}

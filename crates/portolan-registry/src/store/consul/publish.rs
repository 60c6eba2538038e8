//! Registers instances at the agent, so that Consul's own clients find them: by its API, by DNS, and in its UI.
//!
//! The server that holds the lease of an instance registers it at its agent, with a check by TTL that shows the health
//! that Portolan knows. If all servers end, nobody renews the checks, and Consul itself finds the instances critical.
//! What was learned by broadcast is not registered: a datagram is not authenticated.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use portolan_consul::{ConsulAgent, ConsulCheckStatus, ConsulError, ConsulRegistration};
use portolan_core::{HealthStatus, Host, Remedy, ServiceEndpoint, ServiceId, Source};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::warn;

use super::Shared;

/// The metadata of a service that Portolan registers: the id of the instance, and the prefix of its registry.
pub(super) const ID: &str = "portolan-id";
const REGISTRY: &str = "portolan-registry";
const SCOPE: &str = "portolan-scope";
const VERSION: &str = "version";
const PROTOCOL: &str = "protocol";
/// The tag of every service that Portolan registers, and the beginning of the one with its scope.
pub(super) const TAG: &str = "portolan";
pub(super) const SCOPE_TAG: &str = "scope-";
/// How long a check lasts beyond the TTL of the instance.
const SLACK: Duration = Duration::from_secs(15);
/// How long the check of an instance may be critical until the agent deregisters it. An instance that is critical for
/// Portolan is registered again then; one that no server knows any more is gone.
const DEREGISTER_AFTER: Duration = Duration::from_secs(3600);
/// How often it is checked which checks are to be renewed.
const TICK: Duration = Duration::from_millis(500);
/// How often the agent's services are compared with what it should have.
const RECONCILE: Duration = Duration::from_secs(10);
/// How many calls are made at the same time.
const CONCURRENT: usize = 8;
/// The longest metadata that Consul accepts, and the number of its entries.
const META_VALUE: usize = 512;
const META_ENTRIES: usize = 64;

/// What this server has registered at its agent.
#[derive(Debug, Default)]
struct Published {
    services: HashMap<ServiceId, Service>,
    /// Services that were there at the last comparison and should not be.
    strays: HashSet<String>,
    /// What could not be done.
    failed: HashSet<ServiceId>,
    is_warned: bool,
}

#[derive(Debug)]
struct Service {
    registration: ConsulRegistration,
    status: ConsulCheckStatus,
    output: String,
    renewed: Instant,
    renew_after: Duration,
}

/// A call to the agent.
#[derive(Debug)]
enum Call {
    Register(Box<ConsulRegistration>, String),
    Update(String, ConsulCheckStatus, String),
    Deregister(String),
}

// === impl Shared ===

impl Shared {
    /// Keeps the agent's services equal to the instances whose leases this server holds, for ever.
    pub(super) async fn publish(&self) {
        let (mut published, touched) = (Published::default(), self.replica.lock().touched());
        if !self.config.publish {
            loop {
                touched.notified().await;
                self.replica.lock().take_touched();
            }
        }
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reconciled: Option<Instant> = None;
        loop {
            let is_tick = tokio::select! {
                _ = ticks.tick() => true,
                () = touched.notified() => false,
            };
            if !self.replica.lock().is_in_contact() {
                continue;
            }
            let mut ids = self.replica.lock().take_touched();
            if is_tick {
                ids.extend(published.due());
            }
            self.publish_all(&mut published, ids).await;
            if is_tick && reconciled.is_none_or(|at| at.elapsed() >= RECONCILE) {
                self.reconcile(&mut published).await;
                reconciled = Some(Instant::now());
            }
        }
    }

    async fn publish_all(&self, published: &mut Published, ids: HashSet<ServiceId>) {
        let mut calls = Vec::new();
        for id in ids {
            let wanted = self.wanted(&id);
            if wanted.is_none() && self.is_at_own_node(&id) {
                // Another server at this agent has it now, and has replaced it.
                published.services.remove(&id);
            } else if let Some(call) = published.call(&id, wanted, self) {
                calls.push((id, call));
            }
        }
        let results = stream::iter(calls)
            .map(|(id, call)| async move {
                let result = self.call(&call).await;
                (id, call, result)
            })
            .buffer_unordered(CONCURRENT)
            .collect::<Vec<_>>()
            .await;
        for (id, call, result) in results {
            published.done(id, call, result);
        }
    }

    async fn call(&self, call: &Call) -> Result<bool, ConsulError> {
        match call {
            Call::Register(registration, output) => {
                self.client.register_service(registration).await?;
                self.client.update_check(&registration.id, registration.status, output).await
            }
            Call::Update(id, status, output) => self.client.update_check(id, *status, output).await,
            Call::Deregister(id) => self.client.deregister_service(id).await.map(|()| true),
        }
    }

    /// The instance, if it is to be registered at this server's agent by this server, and the host at which others
    /// reach it: an address of loopback is one of another machine for them, unless Consul itself is on loopback.
    fn wanted(&self, id: &ServiceId) -> Option<(Arc<ServiceEndpoint>, Host)> {
        let is_local = self.agent.lock().as_ref().is_some_and(ConsulAgent::is_on_loopback);
        let replica = self.replica.lock();
        let record = replica.record(id).filter(|_| replica.timers.contains(id))?;
        let endpoint = &record.endpoint;
        let mut hosts = endpoint.hosts().filter(|host| is_local || !host.is_loopback());
        let host = hosts.next().filter(|_| endpoint.source == Source::Registered)?;
        Some((Arc::clone(endpoint), host.clone()))
    }

    /// Whether another server has the instance registered at the agent of this server.
    fn is_at_own_node(&self, id: &ServiceId) -> bool {
        let own = self.agent.lock().as_ref().map(|agent| agent.node.clone());
        let replica = self.replica.lock();
        replica.record(id).is_some_and(|record| {
            own.is_some()
                && !replica.timers.contains(id)
                && replica.node_of(record) == own.as_deref()
        })
    }

    /// Removes services of this registry from the agent that no server has there any more, such as those of a server
    /// that was killed, and registers again what the agent has lost.
    async fn reconcile(&self, published: &mut Published) {
        let Ok(services) = self.client.agent_services().await else { return };
        let prefix = self.keys.prefix();
        let mut strays = HashSet::new();
        for (name, meta) in &services {
            if meta.get(REGISTRY).is_none_or(|registry| registry != prefix) {
                continue;
            }
            let id = meta.get(ID).and_then(|id| id.parse::<ServiceId>().ok());
            let is_known = id.is_some_and(|id| {
                published.services.contains_key(&id)
                    || self.wanted(&id).is_some()
                    || self.is_at_own_node(&id)
            });
            if !is_known {
                strays.insert(name.clone());
            }
        }
        // Twice in a row: a registration may be on its way.
        for stray in strays.intersection(&published.strays) {
            _ = self.client.deregister_service(stray).await;
        }
        published.strays = strays;
        let is_lost = |service: &Service| !services.contains_key(&service.registration.id);
        let lost = published.services.iter().filter(|(_, service)| is_lost(service));
        let lost: Vec<_> = lost.map(|(id, _)| id.clone()).collect();
        for id in lost {
            published.services.remove(&id);
            published.failed.insert(id);
        }
    }

    fn registration(&self, endpoint: &ServiceEndpoint, host: &Host) -> ConsulRegistration {
        let (status, _) = health(endpoint);
        let prefix = self.keys.prefix();
        let mut meta = BTreeMap::from([
            (ID.to_owned(), endpoint.id.to_string()),
            (REGISTRY.to_owned(), prefix.to_owned()),
            (SCOPE.to_owned(), endpoint.scope.to_string()),
            (PROTOCOL.to_owned(), endpoint.protocol.to_string()),
        ]);
        if !endpoint.version.is_empty() {
            meta.insert(VERSION.to_owned(), endpoint.version.clone());
        }
        for (key, value) in &endpoint.metadata {
            let is_free = meta.len() < META_ENTRIES && !meta.contains_key(key);
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if is_free && key.chars().all(is_plain) && !key.starts_with("consul-") {
                meta.insert(key.clone(), value.clone());
            }
        }
        meta.retain(|_, value| value.len() <= META_VALUE);
        ConsulRegistration {
            id: format!("{}:{}", prefix.replace('/', ":"), endpoint.id),
            name: endpoint.name.to_string(),
            address: host.to_string(),
            port: endpoint.port,
            tags: vec![TAG.to_owned(), format!("{SCOPE_TAG}{}", endpoint.scope)],
            meta,
            ttl: endpoint.ttl.duration() + SLACK,
            deregister_after: DEREGISTER_AFTER,
            status,
        }
    }
}

// === impl Published ===

impl Published {
    /// The instances whose checks are to be renewed, and those for which the last call failed.
    fn due(&mut self) -> Vec<ServiceId> {
        let is_due = |service: &Service| service.renewed.elapsed() >= service.renew_after;
        let due = self.services.iter().filter(|(_, service)| is_due(service));
        let due: Vec<_> = due.map(|(id, _)| id.clone()).collect();
        due.into_iter().chain(self.failed.drain()).collect()
    }

    /// The call that makes the agent's service as it is wanted, if it is not.
    fn call(
        &self,
        id: &ServiceId,
        wanted: Option<(Arc<ServiceEndpoint>, Host)>,
        shared: &Shared,
    ) -> Option<Call> {
        let known = self.services.get(id);
        let Some((endpoint, host)) = wanted else {
            return Some(Call::Deregister(known?.registration.id.clone()));
        };
        let registration = shared.registration(&endpoint, &host);
        let (status, output) = health(&endpoint);
        match known {
            Some(known) if known.is_like(&registration) => {
                let is_due = known.renewed.elapsed() >= known.renew_after;
                let is_same = (known.status, &known.output) == (status, &output);
                (is_due || !is_same).then_some(Call::Update(registration.id, status, output))
            }
            _ => Some(Call::Register(Box::new(registration), output)),
        }
    }

    fn done(&mut self, id: ServiceId, call: Call, result: Result<bool, ConsulError>) {
        match (result, call) {
            (Err(error), call) => {
                if !error.is_unreachable() && !std::mem::replace(&mut self.is_warned, true) {
                    let error = error.with_remedy();
                    warn!(service_id = %id, %error, "Instance not registered at Consul's agent");
                }
                if matches!(call, Call::Register(..)) {
                    self.services.remove(&id);
                }
                self.failed.insert(id);
            }
            (Ok(true), Call::Register(registration, output)) => {
                let ttl = registration.ttl - SLACK;
                let status = registration.status;
                let renew_after = (ttl / 2).max(Duration::from_secs(1));
                let (registration, renewed) = (*registration, Instant::now());
                let service = Service { registration, status, output, renewed, renew_after };
                self.services.insert(id, service);
            }
            (Ok(true), Call::Update(_, status, output)) => {
                if let Some(service) = self.services.get_mut(&id) {
                    (service.status, service.output) = (status, output);
                    service.renewed = Instant::now();
                }
            }
            (Ok(_), Call::Deregister(_)) => _ = self.services.remove(&id),
            // The agent has lost it.
            (Ok(false), _) => {
                self.services.remove(&id);
                self.failed.insert(id);
            }
        }
    }
}

// === impl Service ===

impl Service {
    /// Whether the agent has it like this, but for the status.
    fn is_like(&self, other: &ConsulRegistration) -> bool {
        let status = self.registration.status;
        self.registration == ConsulRegistration { status, ..other.clone() }
    }
}

/// The status and the output of an instance's check. Consul has no unknown health: an instance whose lease lives and
/// that is not checked passes.
fn health(endpoint: &ServiceEndpoint) -> (ConsulCheckStatus, String) {
    let status = match endpoint.health {
        HealthStatus::Critical => ConsulCheckStatus::Critical,
        HealthStatus::Warning => ConsulCheckStatus::Warning,
        HealthStatus::Passing | HealthStatus::Unknown => ConsulCheckStatus::Passing,
    };
    let output = match endpoint.health_reason.as_str() {
        "" => format!("health: {}", endpoint.health),
        reason => format!("health: {}: {reason}", endpoint.health),
    };
    (status, output)
}

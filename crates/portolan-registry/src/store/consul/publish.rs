//! Registers instances at the agent, so that Consul's own clients find them: by its API, by DNS, and in its UI.
//!
//! The server that holds the lease of an instance registers it at its agent, with a check by TTL that shows the health
//! that Portolan knows. If all servers end, nobody renews the checks, and Consul itself finds the instances critical.
//! What was learned by broadcast is not registered: a datagram is not authenticated.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use portolan_consul::{ConsulAgent, ConsulCheckStatus, ConsulError, ConsulRegistration};
use portolan_core::{Remedy, ServiceId};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::warn;

use super::Shared;
use wanted::{REGISTRY, SLACK, Wanted};

mod wanted;

pub(super) use wanted::{ID, SCOPE_TAG, TAG};

/// How often it is checked which checks are to be renewed.
const TICK: Duration = Duration::from_millis(500);
/// How often the agent's services are compared with what it should have.
const RECONCILE: Duration = Duration::from_secs(10);
/// How many calls are made at the same time.
const CONCURRENT: usize = 8;

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
    Register(Wanted),
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
            } else if let Some(call) = published.call(&id, wanted) {
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
            Call::Register(Wanted { registration, output }) => {
                self.client.register_service(registration).await?;
                self.client.update_check(&registration.id, registration.status, output).await
            }
            Call::Update(id, status, output) => self.client.update_check(id, *status, output).await,
            Call::Deregister(id) => self.client.deregister_service(id).await.map(|()| true),
        }
    }

    /// What is to be registered at this server's agent by this server for an instance.
    fn wanted(&self, id: &ServiceId) -> Option<Wanted> {
        let is_local = self.agent.lock().as_ref().is_some_and(ConsulAgent::is_on_loopback);
        let replica = self.replica.lock();
        let record = replica.record(id).filter(|record| replica.holds(record))?;
        Wanted::of(record, self.keys.prefix(), is_local)
    }

    /// Whether another server has the instance registered at the agent of this server.
    fn is_at_own_node(&self, id: &ServiceId) -> bool {
        let own = self.agent.lock().as_ref().map(|agent| agent.node.clone());
        let replica = self.replica.lock();
        replica.record(id).is_some_and(|record| {
            own.is_some() && !replica.holds(record) && replica.node_of(record) == own.as_deref()
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
    fn call(&self, id: &ServiceId, wanted: Option<Wanted>) -> Option<Call> {
        let known = self.services.get(id);
        let Some(wanted) = wanted else {
            return Some(Call::Deregister(known?.registration.id.clone()));
        };
        match known {
            Some(known) if known.is_like(&wanted.registration) => {
                let Wanted { registration, output } = wanted;
                let (id, status) = (registration.id, registration.status);
                let is_due = known.renewed.elapsed() >= known.renew_after;
                let is_same = (known.status, &known.output) == (status, &output);
                (is_due || !is_same).then_some(Call::Update(id, status, output))
            }
            _ => Some(Call::Register(wanted)),
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
            (Ok(true), Call::Register(Wanted { registration, output })) => {
                let ttl = registration.ttl - SLACK;
                let status = registration.status;
                let renew_after = (ttl / 2).max(Duration::from_secs(1));
                let renewed = Instant::now();
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

//! The agent of one running service.

use std::fmt;
use std::time::Duration;

use portolan_broadcast::AnnounceError;
use portolan_client::RegistryClientError;
use portolan_core::endpoint::DRAINING;
use portolan_core::{Action, HealthReport, HealthStatus, Registration, ServiceEndpoint, ServiceId};
use portolan_health::{CheckSpec, HealthEvent, HealthMonitor};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::AgentError;
use crate::broadcast_link::BroadcastLink;
use crate::builder::{AgentBuilder, Started, desired_endpoint};
use crate::registry_link::{Published, RegistryLink};
use crate::settings::keep_settings;

/// How long a request in flight may take after the agent was stopped. If the request were
/// cancelled, the registry might apply it after the deregistration and keep a stale instance.
const IN_FLIGHT: Duration = Duration::from_millis(500);
/// How long deregistration may take: long enough for a busy registry, and short enough that a
/// stack of services is stopped within 5 s.
const DEREGISTRATION: Duration = Duration::from_secs(1);
/// The additional time after both limits before the tasks are aborted.
const SLACK: Duration = Duration::from_millis(100);

/// Publishes one service until the agent is stopped.
///
/// If the agent is dropped without [`Agent::stop`], its tasks end and queries are no longer answered,
/// but the service is not deregistered: it expires at the end of its TTL, as after a crash.
pub struct Agent {
    desired: watch::Sender<ServiceEndpoint>,
    health: watch::Receiver<HealthReport>,
    check: CheckSpec,
    monitor: HealthMonitor,
    /// What the registry has; `None` without one.
    published: Option<watch::Receiver<Published>>,
    stopping: CancellationToken,
    tasks: JoinSet<()>,
}

// === impl Agent ===

impl Agent {
    /// Returns a builder of an agent for this service.
    pub fn builder(registration: Registration) -> AgentBuilder {
        AgentBuilder::new(registration)
    }

    /// Returns the endpoint as it is published, with its current health.
    pub fn endpoint(&self) -> ServiceEndpoint {
        self.desired.borrow().clone()
    }

    /// Returns the id of the instance.
    pub fn id(&self) -> ServiceId {
        self.desired.borrow().id.clone()
    }

    /// Returns the results of the health check; `unknown` if there is no check.
    pub fn health(&self) -> watch::Receiver<HealthReport> {
        self.health.clone()
    }

    /// Records a report from the service, for a `ttl` check.
    pub fn report(&self) {
        self.monitor.report(&self.id());
    }

    /// Replaces the registration, and updates the registry and the channel in the background.
    ///
    /// # Errors
    ///
    /// If the registration is invalid or belongs to another instance.
    pub fn update(&self, mut registration: Registration) -> Result<(), AgentError> {
        let before = self.endpoint();
        registration.incarnation = before.incarnation;
        keep_settings(&mut registration, &before);
        let updated = desired_endpoint(registration, &self.check)?;
        if updated.id != before.id {
            return Err(AgentError::OtherInstance { own: before.id, other: updated.id });
        }
        let moved = updated.address() != before.address();
        self.desired.send_if_modified(|endpoint| {
            let differs = !updated.same_contents(endpoint);
            *endpoint = ServiceEndpoint {
                registered_at: endpoint.registered_at,
                health: endpoint.health,
                health_reason: std::mem::take(&mut endpoint.health_reason),
                ..updated
            };
            differs
        });
        if moved {
            self.monitor.watch(&self.endpoint(), &self.check);
        }
        Ok(())
    }

    /// Publishes that the service is about to stop, so that callers choose other instances, and waits until the registry has
    /// acknowledged it, for at most 500 ms. Returns whether callers may have to be waited for: not if the registry does not
    /// have the service. [`stop`](Self::stop) follows after a while that callers need to leave.
    pub async fn drain(&self) -> bool {
        let Some(mut published) = self.published.clone() else { return false };
        if *published.borrow() == Published::Nothing {
            return false;
        }
        let mut registration = Registration::from(self.endpoint());
        let (key, value) = DRAINING;
        registration.metadata.insert(key.to_owned(), value.to_owned());
        if registration.validate().is_err() {
            // There is no room for another entry.
            return false;
        }
        self.desired.send_modify(|endpoint| endpoint.metadata = registration.metadata);
        let shown = published.wait_for(|published| *published != Published::Serving);
        let shown = timeout(IN_FLIGHT, shown).await;
        matches!(shown, Ok(Ok(published)) if *published == Published::Draining)
    }

    /// Deregisters the service, announces that it is gone, and joins every task, within 1.6 s. If
    /// the registry does not answer in time, the service expires there at the end of its TTL.
    pub async fn stop(mut self) {
        let deadline = Instant::now() + IN_FLIGHT + DEREGISTRATION + SLACK;
        self.stopping.cancel();
        self.monitor.stop().await;
        let joined = async { while self.tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, joined).await.is_err() {
            warn!(service_id = %self.id(), "Agent not stopped in time, its tasks are aborted");
            self.tasks.shutdown().await;
        }
    }

    pub(crate) fn run(started: Started) -> Self {
        let Started { desired, check, monitor, events, registry, broadcast, addresses } = started;
        let stopping = CancellationToken::new();
        let (health, reported) = watch::channel(HealthReport::default());
        let mut tasks = JoinSet::new();
        // Whether another registrant owns the registration.
        let (replaced, is_replaced) = watch::channel(false);
        // Whether the service has been critical for so long that it is not published.
        let (removed, is_removed) = watch::channel(false);
        let published = registry.as_ref().map(|(link, _)| link.published());
        if let Some((link, first)) = registry {
            let removed = is_removed.clone();
            tasks.spawn(keep_registered(link, first, stopping.clone(), replaced, removed));
        }
        if let Some((link, first)) = broadcast {
            tasks.spawn(keep_announced(link, first, stopping.clone(), is_replaced, is_removed));
        }
        monitor.watch(&desired.borrow(), &check);
        if let Some(updates) = addresses {
            let stop = stopping.clone();
            tasks.spawn(async move {
                stop.run_until_cancelled(updates.run()).await;
            });
        }
        let health_updates = follow_health(desired.clone(), health, removed, events);
        let stop = stopping.clone();
        tasks.spawn(async move {
            stop.run_until_cancelled(health_updates).await;
        });
        Self { desired, health: reported, check, monitor, published, stopping, tasks }
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("endpoint", &*self.desired.borrow()).finish_non_exhaustive()
    }
}

async fn keep_registered(
    mut link: RegistryLink,
    first: Result<(), RegistryClientError>,
    stopping: CancellationToken,
    replaced: watch::Sender<bool>,
    mut removed: watch::Receiver<bool>,
) {
    let mut result = first;
    loop {
        let pause = stopping.child_token();
        let paused = async {
            tokio::select! {
                () = becomes(&mut removed, true) => pause.cancel(),
                () = stopping.cancelled() => {}
            }
            sleep(IN_FLIGHT).await;
        };
        tokio::select! {
            () = link.run(result, &pause, &replaced) => {}
            () = paused => {}
        }
        link.withdraw(Instant::now() + DEREGISTRATION).await;
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = becomes(&mut removed, false) => {}
        }
        result = if link.forget() { link.reconcile(false).await } else { Ok(()) };
    }
}

async fn keep_announced(
    mut link: BroadcastLink,
    first: Result<(), AnnounceError>,
    stopping: CancellationToken,
    mut replaced: watch::Receiver<bool>,
    mut removed: watch::Receiver<bool>,
) {
    let mut result = first;
    loop {
        tokio::select! {
            () = link.run(result) => {}
            () = stopping.cancelled() => {}
            () = becomes(&mut replaced, true) => {}
            () = becomes(&mut removed, true) => {}
        }
        if *replaced.borrow() {
            // The id is another registrant's: announcing that it is gone would remove that one's instance.
            link.silence();
        } else {
            link.withdraw(Instant::now() + DEREGISTRATION).await;
        }
        let published_again = async {
            becomes(&mut replaced, false).await;
            becomes(&mut removed, false).await;
        };
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = published_again => {}
        }
        result = link.announce(Action::Register).await;
    }
}

/// Waits until the channel has this value; for ever if its sender is gone.
async fn becomes(values: &mut watch::Receiver<bool>, expected: bool) {
    if values.wait_for(|value| *value == expected).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Writes check results into the desired state, which both links watch, and whether the service is published at all.
async fn follow_health(
    desired: watch::Sender<ServiceEndpoint>,
    health: watch::Sender<HealthReport>,
    removed: watch::Sender<bool>,
    mut events: mpsc::Receiver<HealthEvent>,
) {
    while let Some(event) = events.recv().await {
        let HealthEvent::Changed { report, .. } = event else {
            let service_id = desired.borrow().id.clone();
            warn!(%service_id, "Service critical for too long, it is deregistered until it is passing");
            removed.send_replace(true);
            continue;
        };
        // Before the health, so that it is registered again with that.
        if report.status != HealthStatus::Critical {
            removed.send_replace(false);
        }
        desired.send_modify(|endpoint| {
            endpoint.health = report.status;
            endpoint.health_reason.clone_from(&report.reason);
        });
        health.send_replace(report);
    }
}

#[cfg(test)]
mod tests;

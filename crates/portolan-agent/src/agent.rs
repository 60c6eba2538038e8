//! The agent of one running service.

use std::fmt;
use std::time::Duration;

use portolan_broadcast::AnnounceError;
use portolan_client::RegistryClientError;
use portolan_core::{HealthReport, Registration, ServiceEndpoint, ServiceId};
use portolan_health::{CheckSpec, HealthMonitor};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::AgentError;
use crate::broadcast_link::BroadcastLink;
use crate::builder::{AgentBuilder, Started, describe};
use crate::registry_link::RegistryLink;

/// How long a request on its way may take when the agent stops. Were it cut off, the registry
/// might carry it out after the good-bye, and keep a ghost.
const IN_FLIGHT: Duration = Duration::from_millis(500);
/// How long the good-bye may take: long enough for a registry that is busy, and short enough that
/// a stack of services is down within the 5 s that a person waits.
const GOOD_BYE: Duration = Duration::from_secs(1);
/// How much longer than all that the tasks may take before they are ended.
const SLACK: Duration = Duration::from_millis(100);

/// Keeps one service findable until it is stopped.
///
/// Dropped without [`Agent::stop`], it ends its tasks and answers no more queries, but says
/// good-bye to nobody: the service is then gone at the end of its TTL, as after a crash.
pub struct Agent {
    desired: watch::Sender<ServiceEndpoint>,
    health: watch::Receiver<HealthReport>,
    check: CheckSpec,
    monitor: HealthMonitor,
    stopping: CancellationToken,
    tasks: JoinSet<()>,
}

// === impl Agent ===

impl Agent {
    /// An agent for this service, to be told of whom it speaks to.
    pub fn builder(registration: Registration) -> AgentBuilder {
        AgentBuilder::new(registration)
    }

    /// The service as others are to find it, with its health as of now.
    pub fn endpoint(&self) -> ServiceEndpoint {
        self.desired.borrow().clone()
    }

    /// The service's id.
    pub fn id(&self) -> ServiceId {
        self.desired.borrow().id.clone()
    }

    /// The service's health as its check finds it, `unknown` where there is none.
    pub fn health(&self) -> watch::Receiver<HealthReport> {
        self.health.clone()
    }

    /// Records a report from the service, for a `ttl` check.
    pub fn report(&self) {
        self.monitor.report(&self.id());
    }

    /// Describes the service anew. Registry and channel hear of it at once, in the background.
    ///
    /// It stays the same instance: an id, or a host and port, of another one is an error.
    pub fn update(&self, registration: Registration) -> Result<(), AgentError> {
        let updated = describe(registration, &self.check)?;
        let before = self.endpoint();
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

    /// Takes the service out of the registry and off the channel, and joins every task. Takes
    /// 1.6 s at most; where a registry does not answer in time, it drops the service at the
    /// end of its TTL.
    pub async fn stop(mut self) {
        let deadline = Instant::now() + IN_FLIGHT + GOOD_BYE + SLACK;
        self.stopping.cancel();
        self.monitor.stop().await;
        let joined = async { while self.tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, joined).await.is_err() {
            warn!(service_id = %self.id(), "Agent not stopped in time, its tasks are ended");
            self.tasks.shutdown().await;
        }
    }

    pub(crate) fn run(started: Started) -> Self {
        let Started { desired, check, monitor, reports, registry, broadcast } = started;
        let stopping = CancellationToken::new();
        let (health, reported) = watch::channel(HealthReport::default());
        let mut tasks = JoinSet::new();
        if let Some((link, begun)) = registry {
            tasks.spawn(keep_registered(link, begun, stopping.clone()));
        }
        if let Some((link, begun)) = broadcast {
            tasks.spawn(keep_announced(link, begun, stopping.clone()));
        }
        monitor.watch(&desired.borrow(), &check);
        let following = follow_health(desired.clone(), health, reports);
        let stop = stopping.clone();
        tasks.spawn(async move {
            stop.run_until_cancelled(following).await;
        });
        Self { desired, health: reported, check, monitor, stopping, tasks }
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("endpoint", &*self.desired.borrow()).finish_non_exhaustive()
    }
}

async fn keep_registered(
    mut link: RegistryLink,
    begun: Result<(), RegistryClientError>,
    stopping: CancellationToken,
) {
    let too_long = async {
        stopping.cancelled().await;
        sleep(IN_FLIGHT).await;
    };
    tokio::select! {
        () = link.run(begun, &stopping) => {}
        () = too_long => {}
    }
    link.withdraw(Instant::now() + GOOD_BYE).await;
}

async fn keep_announced(
    mut link: BroadcastLink,
    begun: Result<(), AnnounceError>,
    stopping: CancellationToken,
) {
    stopping.run_until_cancelled(link.run(begun)).await;
    link.withdraw(Instant::now() + GOOD_BYE).await;
}

/// Writes what the check finds into the one place that the links look at.
async fn follow_health(
    desired: watch::Sender<ServiceEndpoint>,
    health: watch::Sender<HealthReport>,
    mut reports: mpsc::Receiver<(ServiceId, HealthReport)>,
) {
    while let Some((_, report)) = reports.recv().await {
        desired.send_modify(|endpoint| {
            endpoint.health = report.status;
            endpoint.health_reason.clone_from(&report.reason);
        });
        health.send_replace(report);
    }
}

#[cfg(test)]
mod tests;

//! The end of a session: the addresses of its instance are asked, and the instance is removed if all refuse.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use portolan_metrics::Metrics;
use portolan_registry::{
    AgentSessionId, Command, CommandOrigin, CommandTarget, Registry, RegistryError,
    SettingsVersions,
};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::settings;
use crate::probing::{Place, Verdict};

/// How many instances are examined at the same time.
const CONCURRENT: usize = 256;
/// The first pause after an address accepted: the kernel may end the agent before the program. The pauses double.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// How often the addresses are asked: for 4 s in all. A program that accepts after that goes on without its agent.
const ATTEMPTS: u32 = 12;

/// The task that examines the instances whose sessions have ended.
#[derive(Debug)]
pub struct SessionsTask {
    pub(super) registry: Registry,
    pub(super) ended: mpsc::Receiver<Ended>,
    pub(super) publish: watch::Sender<SettingsVersions>,
    pub(super) metrics: Metrics,
}

/// A session that its client has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) target: CommandTarget,
    pub(super) session: AgentSessionId,
    pub(super) place: Place,
    pub(super) accepted: Vec<SocketAddr>,
}

// === impl SessionsTask ===

impl SessionsTask {
    /// Examines the instances whose sessions end, and follows the versions of settings, until the token is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut running = FuturesUnordered::new();
        let mut versions = pin!(settings::publish(&self.registry, &self.publish).fuse());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut versions => {}
                Some(()) = running.next() => {}
                ended = self.ended.recv(), if running.len() < CONCURRENT => match ended {
                    Some(ended) => running.push(ended.settle(&self.registry, &self.metrics)),
                    None => return,
                },
            }
        }
    }
}

// === impl Ended ===

impl Ended {
    /// Asks the addresses of the instance, and removes it if all refuse.
    async fn settle(self, registry: &Registry, metrics: &Metrics) {
        let service_id = self.target.id.clone();
        for attempt in 0..ATTEMPTS {
            let here = registry.get(&service_id).map(|endpoint| Place::of(&endpoint));
            if here.is_none_or(|here| here != self.place) {
                return;
            }
            match Verdict::ask(&self.accepted).await {
                Verdict::Gone => {
                    metrics.session_ended("gone");
                    return self.remove(registry).await;
                }
                Verdict::Unknown => {
                    metrics.session_ended("silent");
                    info!(%service_id, "Session ended, and the instance does not answer: its TTL decides");
                    return;
                }
                Verdict::Alive => sleep(FIRST_PAUSE * (1 << attempt)).await,
            }
        }
        metrics.session_ended("alive");
        info!(%service_id, "Session ended, but the instance accepts connections: its TTL decides");
    }

    async fn remove(self, registry: &Registry) {
        let service_id = self.target.id.clone();
        let command = Command::Vanish(self.target, self.session);
        match registry.execute(command, CommandOrigin::local()).await {
            Ok(_) => {}
            // Deregistered meanwhile, or its agent has come back.
            Err(
                error @ (RegistryError::Unknown { .. }
                | RegistryError::AnotherIncarnation { .. }
                | RegistryError::AnotherSession { .. }),
            ) => debug!(%service_id, %error, "Ended session says nothing about the instance"),
            Err(error) => {
                warn!(%service_id, %error, "Instance whose process has ended is not removed, it expires at the end of its TTL");
            }
        }
    }
}

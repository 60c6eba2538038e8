//! Reports of callers that could not connect to an instance.
//!
//! A report is a hint: anybody who may read the service can send one. So the registry connects to the instance itself, at the
//! address that it is registered at and under the rules of health checks. Only if every address that it may ask refuses is the
//! instance critical, so that whoever follows the registry avoids it. It stays registered, and is asked again until it accepts
//! (`flows/health.rs` of the server).

mod limits;

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use portolan_core::{HealthStatus, IpNetwork, ServiceEndpoint, ServiceId, Source};
use portolan_health::refused_after_report;
use portolan_metrics::Metrics;
use portolan_registry::{Command, CommandOrigin, CommandTarget, Registry};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::probing::{Addresses, Place, Verdict};
use crate::problem::{Problem, ProblemKind};
use limits::{Admission, Limits};

/// How many instances wait to be examined. Reports about others are refused.
const QUEUE: usize = 1024;
/// How many instances are examined at the same time.
const CONCURRENT: usize = 64;

/// Takes the reports of callers that could not connect. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FailureReports {
    queue: mpsc::Sender<ServiceId>,
    limits: Arc<Mutex<Limits>>,
    metrics: Metrics,
}

/// The task that examines the instances that callers reported.
#[derive(Debug)]
pub struct FailureReportsTask {
    registry: Registry,
    /// Where everyone's instances may be asked.
    allowed: Arc<[IpNetwork]>,
    queue: mpsc::Receiver<ServiceId>,
    metrics: Metrics,
}

// === impl FailureReports ===

impl FailureReports {
    /// Creates a taker of reports. Instances are asked at the address that registered them, and in these networks. The caller
    /// runs the task.
    pub fn new(
        registry: Registry,
        allowed: impl Into<Arc<[IpNetwork]>>,
        metrics: Metrics,
    ) -> (Self, FailureReportsTask) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let allowed = allowed.into();
        let task = FailureReportsTask { registry, allowed, queue, metrics: metrics.clone() };
        (Self { queue: sender, limits: Arc::default(), metrics }, task)
    }

    /// Has the instance examined, unless it was a moment ago.
    pub(crate) fn submit(&self, id: &ServiceId, client: Option<IpAddr>) -> Result<(), Problem> {
        match self.limits.lock().admit(id, client) {
            Admission::New => {}
            Admission::Repeated => {
                self.metrics.failure_reported("repeated");
                return Ok(());
            }
            Admission::TooMany => {
                self.metrics.failure_reported("dropped");
                let detail =
                    "too many different instances were reported by this host in one second";
                return Err(Problem::new(ProblemKind::TooMany, detail)
                    .remedy("use another instance; the health checks and the TTL decide"));
            }
        }
        self.queue.try_send(id.clone()).map_err(|_| {
            self.metrics.failure_reported("dropped");
            Problem::new(ProblemKind::Unavailable, "too many instances wait to be examined")
                .remedy("use another instance; the health checks and the TTL of this one decide")
        })
    }
}

// === impl FailureReportsTask ===

impl FailureReportsTask {
    /// Examines the reported instances until the token is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(outcome) = running.next() => self.metrics.failure_reported(outcome),
                id = self.queue.recv(), if running.len() < CONCURRENT => match id {
                    Some(id) => running.push(examine(id, self.registry.clone(), Arc::clone(&self.allowed))),
                    None => return,
                },
            }
        }
    }
}

/// Asks the addresses of the instance, which becomes critical if all refuse. Returns what came of it.
async fn examine(
    service_id: ServiceId,
    registry: Registry,
    allowed: Arc<[IpNetwork]>,
) -> &'static str {
    let Some(endpoint) = registry.get(&service_id).filter(|endpoint| can_be_refused(endpoint))
    else {
        return "not_asked";
    };
    let addresses = Addresses::of(&endpoint, &registry, &allowed).await;
    if !addresses.have_main_host() {
        debug!(%service_id, "Reported instance is not at the address that registered it, and not asked");
        return "not_asked";
    }
    match Verdict::ask(&addresses.into_list()).await {
        Verdict::Alive => "accepted",
        Verdict::Unknown => "silent",
        Verdict::Gone => {
            set_critical(&endpoint, &registry).await;
            "refused"
        }
    }
}

/// Whether a refusal of a TCP connection would say something new about the instance, which its own registrant registered: an
/// announcement may be forged, and Consul checks its services itself.
fn can_be_refused(endpoint: &ServiceEndpoint) -> bool {
    let is_udp = endpoint.protocol.as_str().eq_ignore_ascii_case("udp");
    endpoint.source == Source::Registered && !is_udp && endpoint.health != HealthStatus::Critical
}

async fn set_critical(endpoint: &ServiceEndpoint, registry: &Registry) {
    let ServiceEndpoint { id, incarnation, .. } = endpoint;
    let now = registry.get(id);
    let is_the_same = |now: &ServiceEndpoint| {
        now.incarnation == *incarnation && Place::of(now) == Place::of(endpoint)
    };
    // If it moves after this, it is asked at its new address within the interval of checks.
    if !now.is_some_and(|now| is_the_same(&now)) {
        return;
    }
    let target = CommandTarget { id: id.clone(), incarnation: *incarnation };
    let command = Command::Health(target, refused_after_report());
    match registry.execute(command, CommandOrigin::local()).await {
        Ok(_) => warn!(
            service_name = %endpoint.name, service_id = %id, address = endpoint.address(),
            "Instance is critical: a caller could not connect, and its address refuses"
        ),
        // Deregistered or replaced meanwhile.
        Err(error) => debug!(service_id = %id, %error, "Reported instance is not marked"),
    }
}

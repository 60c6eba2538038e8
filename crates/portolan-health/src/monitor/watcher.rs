//! The task that watches one instance.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::duration::format_duration;
use portolan_core::{HealthReport, HealthStatus, ServiceId};
use portolan_metrics::{Metrics, OperationResult};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::schedule::Schedule;
use crate::{Check, HealthChange, HealthConfig, HealthState, Target};

/// State that all watchers of a monitor share.
pub(super) struct Shared {
    pub(super) config: HealthConfig,
    pub(super) metrics: Metrics,
    pub(super) reports: mpsc::Sender<(ServiceId, HealthReport)>,
    pub(super) permits: Semaphore,
}

/// Checks one instance periodically.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    check: Arc<dyn Check>,
    target: Target,
    reports: watch::Receiver<Option<Instant>>,
    state: HealthState,
    schedule: Schedule,
}

// === impl Watcher ===

impl Watcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        check: Arc<dyn Check>,
        target: Target,
        reports: watch::Receiver<Option<Instant>>,
    ) -> Self {
        let status = target.endpoint.health;
        let state = HealthState::new(status, &shared.config);
        let schedule = Schedule::new(shared.config.interval, status);
        Self { shared, check, target, reports, state, schedule }
    }

    /// Runs the check periodically until the receiver of the reports is dropped.
    pub(super) async fn run(mut self) {
        let mut late = false;
        loop {
            let report = self.check_once().await;
            if let Some(change) = self.record(report, late) {
                log(&self.target, &change);
                let report = (self.target.endpoint.id.clone(), change.to);
                if self.shared.reports.send(report).await.is_err() {
                    return;
                }
            }
            late = self.wait().await;
        }
    }

    async fn check_once(&self) -> HealthReport {
        let Shared { config, metrics, permits, .. } = &*self.shared;
        // The semaphore is never closed; a check without a permit would be acceptable if it were.
        let _permit = permits.acquire().await;
        let report = match timeout(config.timeout, self.check.check(&self.target)).await {
            Ok(report) => report,
            Err(_) => {
                let reason = format!("no answer within {}", format_duration(config.timeout));
                HealthReport::new(HealthStatus::Critical, reason)
            }
        };
        let result = match report.status {
            HealthStatus::Passing | HealthStatus::Warning => OperationResult::Success,
            HealthStatus::Critical => OperationResult::Failure,
            HealthStatus::Unknown => return report,
        };
        metrics.health_check(self.target.endpoint.name.as_str(), result);
        report
    }

    fn record(&mut self, report: HealthReport, late: bool) -> Option<HealthChange> {
        if self.check.is_conclusive() {
            return self.state.record_conclusive(report);
        }
        // An instance that is starting has not failed yet, and a late check indicates a suspended or
        // overloaded host.
        if report.status == HealthStatus::Critical && (late || self.schedule.is_starting()) {
            let Target { endpoint, .. } = &self.target;
            debug!(service_name = %endpoint.name, late, reason = report.reason, "Health check failure ignored");
            return None;
        }
        self.state.record(report)
    }

    /// Waits until the next check is due. Returns whether it woke up so late that the host must have
    /// been suspended or overloaded, so that a failure says nothing about the instance.
    async fn wait(&mut self) -> bool {
        let scheduled = self.schedule.next_wait(self.state.status());
        let due = Instant::now() + self.check.next_run(&self.target).unwrap_or(scheduled);
        tokio::select! {
            () = sleep_until(due) => {}
            Ok(()) = self.reports.changed() => {
                self.target.last_report = *self.reports.borrow_and_update();
            }
        }
        due.elapsed() > self.shared.config.timeout.max(Duration::from_millis(100))
    }
}

fn log(target: &Target, change: &HealthChange) {
    let endpoint = &target.endpoint;
    let HealthChange { from, to } = change;
    match to.status {
        HealthStatus::Critical | HealthStatus::Warning => warn!(
            service_name = %endpoint.name, service_id = %endpoint.id, port = endpoint.port,
            protocol = %endpoint.protocol, from = %from, status = %to.status, reason = to.reason,
            "Service health degraded"
        ),
        HealthStatus::Passing | HealthStatus::Unknown => info!(
            service_name = %endpoint.name, service_id = %endpoint.id, port = endpoint.port,
            protocol = %endpoint.protocol, from = %from, status = %to.status, reason = to.reason,
            "Service health restored"
        ),
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::{Registration, Ttl};

    use super::*;
    use crate::CheckSpec;

    #[tokio::test]
    async fn failure_of_a_late_check_is_ignored() {
        let registration =
            Registration::new("api".parse().unwrap(), "127.0.0.1".parse().unwrap(), 80);
        let mut endpoint = registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH);
        endpoint.health = HealthStatus::Passing;
        let shared = Shared {
            config: HealthConfig::default(),
            metrics: Metrics::new(),
            reports: mpsc::channel(1).0,
            permits: Semaphore::new(1),
        };
        let check = Arc::clone("tcp".parse::<CheckSpec>().unwrap().check().unwrap());
        let target = Target::new(endpoint);
        let (_reported, reports) = watch::channel(None);
        let mut watcher = Watcher::new(Arc::new(shared), check, target, reports);
        let failure = || HealthReport::new(HealthStatus::Critical, "refused");
        for _ in 0..5 {
            assert_eq!(watcher.record(failure(), true), None);
        }
        assert_eq!(watcher.record(failure(), false), None);
        assert!(watcher.record(failure(), false).is_some());
    }
}

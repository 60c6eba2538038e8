//! The task that watches one instance.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::duration::format_duration;
use portolan_core::{HealthReport, HealthStatus, ServiceId};
use portolan_metrics::{Metrics, OperationResult};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::checks::{Check, Subject};
use crate::pace::Pace;
use crate::{HealthChange, HealthConfig, HealthState};

/// What all watchers of a monitor share.
pub(super) struct Shared {
    pub(super) config: HealthConfig,
    pub(super) metrics: Metrics,
    pub(super) reports: mpsc::Sender<(ServiceId, HealthReport)>,
    pub(super) permits: Semaphore,
}

/// Watches one instance.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    check: Arc<dyn Check>,
    subject: Subject,
    reports: watch::Receiver<Option<Instant>>,
    state: HealthState,
    pace: Pace,
}

// === impl Watcher ===

impl Watcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        check: Arc<dyn Check>,
        subject: Subject,
        reports: watch::Receiver<Option<Instant>>,
    ) -> Self {
        let status = subject.endpoint.health;
        let state = HealthState::new(status, &shared.config);
        let pace = Pace::new(shared.config.interval, status);
        Self { shared, check, subject, reports, state, pace }
    }

    /// Looks again and again, until nobody reads what it finds.
    pub(super) async fn run(mut self) {
        let mut late = false;
        loop {
            let found = self.look().await;
            if let Some(change) = self.consider(found, late) {
                log(&self.subject, &change);
                let report = (self.subject.endpoint.id.clone(), change.to);
                if self.shared.reports.send(report).await.is_err() {
                    return;
                }
            }
            late = self.wait().await;
        }
    }

    async fn look(&self) -> HealthReport {
        let Shared { config, metrics, permits, .. } = &*self.shared;
        // Never closed; and if it were, to look without a permit would be the lesser evil.
        let _permit = permits.acquire().await;
        let found = match timeout(config.timeout, self.check.look(&self.subject)).await {
            Ok(found) => found,
            Err(_) => {
                let reason = format!("no answer within {}", format_duration(config.timeout));
                HealthReport::new(HealthStatus::Critical, reason)
            }
        };
        let outcome = match found.status {
            HealthStatus::Passing | HealthStatus::Warning => OperationResult::Success,
            HealthStatus::Critical => OperationResult::Failure,
            HealthStatus::Unknown => return found,
        };
        metrics.health_check(self.subject.endpoint.name.as_str(), outcome);
        found
    }

    fn consider(&mut self, found: HealthReport, late: bool) -> Option<HealthChange> {
        if self.check.is_proof() {
            return self.state.decide(found);
        }
        // Not up yet is no failure; and who was late himself accuses nobody.
        if found.status == HealthStatus::Critical && (late || self.pace.is_starting()) {
            let Subject { endpoint, .. } = &self.subject;
            debug!(service_name = %endpoint.name, late, reason = found.reason, "Failure not counted");
            return None;
        }
        self.state.observe(found)
    }

    /// Waits for the next look. Whether it comes so late that the host must have been asleep or
    /// overloaded, and a failure would say more about the host than about the service.
    async fn wait(&mut self) -> bool {
        let pace = self.pace.next(self.state.status());
        let due = Instant::now() + self.check.wait(&self.subject).unwrap_or(pace);
        tokio::select! {
            () = sleep_until(due) => {}
            Ok(()) = self.reports.changed() => {
                self.subject.reported = *self.reports.borrow_and_update();
            }
        }
        due.elapsed() > self.shared.config.timeout.max(Duration::from_millis(100))
    }
}

fn log(subject: &Subject, change: &HealthChange) {
    let endpoint = &subject.endpoint;
    let HealthChange { from, to } = change;
    match to.status {
        HealthStatus::Critical | HealthStatus::Warning => warn!(
            service_name = %endpoint.name, service_id = %endpoint.id, port = endpoint.port,
            protocol = %endpoint.protocol, from = %from, status = %to.status, reason = to.reason,
            "Service is unwell"
        ),
        HealthStatus::Passing | HealthStatus::Unknown => info!(
            service_name = %endpoint.name, service_id = %endpoint.id, port = endpoint.port,
            protocol = %endpoint.protocol, from = %from, status = %to.status, reason = to.reason,
            "Service is well"
        ),
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::{Registration, Ttl};

    use super::*;
    use crate::CheckSpec;

    #[tokio::test]
    async fn who_was_late_himself_accuses_nobody() {
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
        let subject = Subject { endpoint, since: Instant::now(), reported: None };
        let (_reported, reports) = watch::channel(None);
        let mut watcher = Watcher::new(Arc::new(shared), check, subject, reports);
        let failure = || HealthReport::new(HealthStatus::Critical, "refused");
        for _ in 0..5 {
            assert_eq!(watcher.consider(failure(), true), None);
        }
        assert_eq!(watcher.consider(failure(), false), None);
        assert!(watcher.consider(failure(), false).is_some());
    }
}

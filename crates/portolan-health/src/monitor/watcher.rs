//! The task that watches one instance.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::duration::format_duration;
use portolan_core::{HealthReport, HealthStatus};
use portolan_metrics::{Metrics, OperationResult};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use super::HealthEvent;
use super::removal::Removal;
use super::shares::{Share, Shares};
use crate::monitor::FirstCheck;
use crate::program::ProcessState;
use crate::schedule::Schedule;
use crate::tls::CheckTls;
use crate::{
    Check, CheckReach, CheckTiming, HealthChange, HealthConfig, HealthState, LastResults, Target,
};

/// The part of an interval to which the times of checks are rounded up.
const GRID: u32 = 2_000;

/// State that all watchers of a monitor share.
pub(super) struct Shared {
    /// When the monitor started.
    pub(super) started: Instant,
    pub(super) config: HealthConfig,
    pub(super) tls: Arc<CheckTls>,
    pub(super) metrics: Metrics,
    pub(super) events: mpsc::Sender<HealthEvent>,
    pub(super) shares: Shares,
    pub(super) results: LastResults,
}

/// Checks one instance periodically.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    check: Arc<dyn Check>,
    target: Target,
    timing: CheckTiming,
    reports: watch::Receiver<Option<Instant>>,
    state: HealthState,
    schedule: Schedule,
    first: FirstCheck,
    removal: Removal,
    /// Why the check says nothing about the instance, as it was last reported.
    unknown: Option<String>,
}

// === impl Watcher ===

impl Watcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        check: Arc<dyn Check>,
        target: Target,
        timing: CheckTiming,
        reports: watch::Receiver<Option<Instant>>,
        first: FirstCheck,
    ) -> Self {
        let status = target.endpoint.health;
        let state = HealthState::new(status, &timing);
        let schedule = Schedule::new(&timing, status, target.reach.is_restricted());
        let removal = Removal::new(timing.deregister_critical_after);
        let unknown = None;
        Self { shared, check, target, timing, reports, state, schedule, first, removal, unknown }
    }

    /// Runs the check periodically until the receiver of the reports is dropped.
    pub(super) async fn run(mut self) {
        let mut was_late = false;
        let mut due = Instant::now();
        if self.first == FirstCheck::WithinInterval {
            due += self.schedule.first_wait();
            sleep_until(due).await;
        }
        loop {
            let (report, is_overdue) = self.check_once(due).await;
            let explanation = self.explanation(&report);
            let late = was_late || is_overdue;
            let change = self.record(report, late);
            change.iter().for_each(|change| log(&self.target, change));
            if let Some(report) = change.map(|change| change.to).or(explanation) {
                let id = self.target.endpoint.id.clone();
                if self.shared.events.send(HealthEvent::Changed { id, report }).await.is_err() {
                    return;
                }
            }
            if self.removal.is_due(self.state.status(), Instant::now(), late) {
                let id = self.target.endpoint.id.clone();
                if self.shared.events.send(HealthEvent::Overdue { id }).await.is_err() {
                    return;
                }
            }
            (was_late, due) = self.wait().await;
        }
    }

    /// Returns why the health is unknown, if that was not reported yet.
    fn explanation(&mut self, report: &HealthReport) -> Option<HealthReport> {
        let is_unknown = |status| status == HealthStatus::Unknown;
        let explains = is_unknown(report.status)
            && is_unknown(self.state.status())
            && !report.reason.is_empty()
            && self.unknown.as_ref() != Some(&report.reason);
        explains.then(|| {
            self.unknown = Some(report.reason.clone());
            report.clone()
        })
    }

    /// Waits for the right to run the check.
    async fn share(&self) -> Share {
        match &self.target.reach {
            CheckReach::Anywhere => self.shared.shares.own().await,
            CheckReach::Registrant(reach) => {
                let host = self.target.endpoint.host.to_string();
                self.shared.shares.of(reach.registrant(), host).await
            }
        }
    }

    /// Runs the check, and returns whether its end came so late that this host must have been suspended meanwhile.
    async fn check_once(&self, due: Instant) -> (HealthReport, bool) {
        let metrics = &self.shared.metrics;
        let _share = self.share().await;
        metrics.health_check_lateness(due.elapsed());
        let begun = Instant::now();
        let deadline = begun + self.timing.timeout;
        let report = match timeout_at(deadline, self.check.check(&self.target)).await {
            // The kernel accepts connections for a program that does nothing, and a command may look elsewhere.
            Ok(_) if self.is_program_stopped() => {
                HealthReport::new(HealthStatus::Critical, "a signal has stopped the program")
            }
            Ok(report) => report,
            Err(_) => {
                let reason = format!("no answer within {}", format_duration(self.timing.timeout));
                HealthReport::new(HealthStatus::Critical, reason)
            }
        };
        let latency = begun.elapsed();
        metrics.health_check_duration(latency);
        let is_overdue = self.is_late(deadline);
        if !is_overdue {
            self.shared.results.add(&self.target.endpoint.id, report.status, latency);
        }
        let result = match report.status {
            HealthStatus::Passing | HealthStatus::Warning => OperationResult::Success,
            HealthStatus::Critical => OperationResult::Failure,
            HealthStatus::Unknown => return (report, is_overdue),
        };
        metrics.health_check(self.target.endpoint.name.as_str(), result);
        (report, is_overdue)
    }

    fn is_program_stopped(&self) -> bool {
        let program = self.target.program.as_ref();
        program.is_some_and(|program| program.state() == ProcessState::Stopped)
    }

    /// Whether it is so late after this time that this host must have been suspended or overloaded, so that a failure says
    /// nothing about the instance.
    fn is_late(&self, due: Instant) -> bool {
        due.elapsed() > self.timing.timeout.max(Duration::from_millis(100))
    }

    fn record(&mut self, report: HealthReport, late: bool) -> Option<HealthChange> {
        let is_conclusive = self.check.is_conclusive();
        // An instance that is starting has not failed yet, and a late check indicates a suspended or
        // overloaded host.
        let is_ignored = late || (!is_conclusive && self.schedule.is_starting());
        if report.status == HealthStatus::Critical && is_ignored {
            let Target { endpoint, .. } = &self.target;
            debug!(service_name = %endpoint.name, late, reason = report.reason, "Health check failure ignored");
            return None;
        }
        match is_conclusive {
            true => self.state.record_conclusive(report),
            false => self.state.record(report),
        }
    }

    fn rounded_up(&self, due: Instant) -> Instant {
        rounded_up(due, self.shared.started, self.timing.interval / GRID)
    }

    /// Waits until the next check is due. Returns whether it woke up late, and when it was due.
    async fn wait(&mut self) -> (bool, Instant) {
        let scheduled = self.schedule.next_wait(self.state.status());
        let due = match self.check.next_run(&self.target) {
            Some(wait) => Instant::now() + wait,
            None => self.rounded_up(Instant::now() + scheduled),
        };
        tokio::select! {
            () = sleep_until(due) => {}
            Ok(()) = self.reports.changed() => {
                self.target.last_report = *self.reports.borrow_and_update();
            }
        }
        let late = self.is_late(due);
        let Some(wait) = self.schedule.wait_after_pause().filter(|_| late) else {
            return (late, due.min(Instant::now()));
        };
        // All checks are due at once now.
        let due = Instant::now() + wait;
        sleep_until(due).await;
        (late, due)
    }
}

/// Rounds a time up to a multiple of the grid since the start. Checks of many instances then begin a few at a time, and the
/// process wakes up once for them: with 10,000 every 10 s, five times less often.
fn rounded_up(time: Instant, started: Instant, grid: Duration) -> Instant {
    let (since, grid) = (time.saturating_duration_since(started).as_nanos(), grid.as_nanos());
    let beyond = since.checked_rem(grid).unwrap_or_default();
    let missing = if beyond == 0 { 0 } else { grid - beyond };
    time + Duration::from_nanos(u64::try_from(missing).unwrap_or_default())
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

    #[test]
    fn times_are_rounded_up_to_the_grid() {
        let (start, grid) = (Instant::now(), Duration::from_millis(5));
        for (after, expected) in [(0, 0), (1, 5), (4_999, 5_000), (5_000, 5_000), (5_001, 5_005)] {
            let (after, expected) = (Duration::from_millis(after), Duration::from_millis(expected));
            assert_eq!(rounded_up(start + after, start, grid), start + expected);
        }
        let time = start + Duration::from_nanos(7);
        assert_eq!(rounded_up(time, start, Duration::ZERO), time);
    }

    #[tokio::test]
    async fn failure_of_a_late_check_is_ignored() {
        let registration =
            Registration::new("api".parse().unwrap(), "127.0.0.1".parse().unwrap(), 80);
        let mut endpoint = registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH);
        endpoint.health = HealthStatus::Passing;
        let shared = Shared {
            started: Instant::now(),
            config: HealthConfig::default(),
            tls: Arc::default(),
            metrics: Metrics::new(),
            events: mpsc::channel(1).0,
            shares: Shares::new(1),
            results: LastResults::default(),
        };
        let check = Arc::clone("tcp".parse::<CheckSpec>().unwrap().check().unwrap());
        let target = Target::new(endpoint);
        let (_reported, reports) = watch::channel(None);
        let timing = CheckTiming::from(&shared.config);
        let mut watcher =
            Watcher::new(Arc::new(shared), check, target, timing, reports, FirstCheck::Now);
        let failure = || HealthReport::new(HealthStatus::Critical, "refused");
        for _ in 0..5 {
            assert_eq!(watcher.record(failure(), true), None);
        }
        assert_eq!(watcher.record(failure(), false), None);
        assert!(watcher.record(failure(), false).is_some());
    }
}

//! The health state machine, without I/O and without a clock.

use portolan_core::{HealthReport, HealthStatus};

use crate::CheckTiming;

/// The number of successes after which an instance that was critical no longer counts as flapping.
const STABLE: u32 = 20;

/// The health of one instance, derived from the reports of its checks.
///
/// Passing becomes critical only after `health.failures_before_critical` failures in a row, and
/// critical becomes passing only after `health.successes_before_passing` successes in a row, so that
/// a single odd result changes nothing. The first success of an unknown instance counts at once.
///
/// An instance that becomes critical again soon after it has recovered needs twice as many successes each time, up to
/// `health.max_successes_before_passing`: one that flaps stays critical.
#[derive(Debug, Clone)]
pub struct HealthState {
    status: HealthStatus,
    failures_before_critical: u32,
    successes_before_passing: u32,
    max_successes_before_passing: u32,
    failures: u32,
    successes: u32,
    /// The number of successes that a critical instance needs now.
    needed: u32,
    /// The successes since it recovered; `None` if it was never critical, or is.
    since_recovery: Option<u32>,
}

/// A change of an instance's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthChange {
    /// The health before.
    pub from: HealthStatus,
    /// The health after, with the report that decided it.
    pub to: HealthReport,
}

// === impl HealthState ===

impl HealthState {
    /// Creates the state of an instance with this status.
    pub fn new(status: HealthStatus, timing: &CheckTiming) -> Self {
        let successes_before_passing = timing.successes_before_passing.get();
        Self {
            status,
            failures_before_critical: timing.failures_before_critical.get(),
            successes_before_passing,
            max_successes_before_passing: timing
                .max_successes_before_passing
                .get()
                .max(successes_before_passing),
            failures: 0,
            successes: 0,
            needed: successes_before_passing,
            since_recovery: None,
        }
    }

    /// Returns the current health.
    pub fn status(&self) -> HealthStatus {
        self.status
    }

    /// Returns the number of consecutive failures and successes until now.
    pub fn consecutive(&self) -> (u32, u32) {
        (self.failures, self.successes)
    }

    /// Records a report and returns the change that it causes. `unknown` changes nothing.
    pub fn record(&mut self, report: HealthReport) -> Option<HealthChange> {
        let is_decided = match report.status {
            HealthStatus::Unknown => false,
            HealthStatus::Critical => self.failed(),
            HealthStatus::Passing | HealthStatus::Warning => self.succeeded(report.status),
        };
        is_decided.then(|| self.set(report)).flatten()
    }

    /// Records a report that decides alone, such as that of a `ttl` check.
    pub fn record_conclusive(&mut self, report: HealthReport) -> Option<HealthChange> {
        match report.status {
            HealthStatus::Unknown => None,
            _ => self.set(report),
        }
    }

    fn failed(&mut self) -> bool {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        self.failures >= self.failures_before_critical
    }

    fn succeeded(&mut self, status: HealthStatus) -> bool {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        self.since_recovery = self.since_recovery.map(|count| count.saturating_add(1));
        // The instance itself reports a problem, which needs no confirmation.
        let worse = self.status < status;
        let enough = self.successes >= self.needed;
        worse || enough || self.status == HealthStatus::Unknown
    }

    fn set(&mut self, to: HealthReport) -> Option<HealthChange> {
        if self.status == to.status {
            return None;
        }
        let from = std::mem::replace(&mut self.status, to.status);
        match (from, to.status) {
            (_, HealthStatus::Critical) => self.relapsed(),
            (HealthStatus::Critical, _) => self.since_recovery = Some(0),
            _ => {}
        }
        Some(HealthChange { from, to })
    }

    /// Increases the number of successes that are needed if the instance was passing for a short time only.
    fn relapsed(&mut self) {
        let flaps = self.since_recovery.take().is_some_and(|successes| successes < STABLE);
        self.needed = match flaps {
            true => self.needed.saturating_mul(2).min(self.max_successes_before_passing),
            false => self.successes_before_passing,
        };
    }
}

#[cfg(test)]
mod tests;

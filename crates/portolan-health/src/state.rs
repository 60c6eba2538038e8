//! The health state machine, without I/O and without a clock.

use portolan_core::{HealthReport, HealthStatus};

use crate::HealthConfig;

/// The health of one instance, derived from the reports of its checks.
///
/// Passing becomes critical only after `health.failures_before_critical` failures in a row, and
/// critical becomes passing only after `health.successes_before_passing` successes in a row, so that
/// a single odd result changes nothing. The first success of an unknown instance counts at once.
#[derive(Debug, Clone)]
pub struct HealthState {
    status: HealthStatus,
    failures_before_critical: u32,
    successes_before_passing: u32,
    failures: u32,
    successes: u32,
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
    pub fn new(status: HealthStatus, config: &HealthConfig) -> Self {
        Self {
            status,
            failures_before_critical: config.failures_before_critical.get(),
            successes_before_passing: config.successes_before_passing.get(),
            failures: 0,
            successes: 0,
        }
    }

    /// Returns the current health.
    pub fn status(&self) -> HealthStatus {
        self.status
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
        // The instance itself reports a problem, which needs no confirmation.
        let worse = self.status < status;
        let enough = self.successes >= self.successes_before_passing;
        worse || enough || self.status == HealthStatus::Unknown
    }

    fn set(&mut self, to: HealthReport) -> Option<HealthChange> {
        if self.status == to.status {
            return None;
        }
        let from = std::mem::replace(&mut self.status, to.status);
        Some(HealthChange { from, to })
    }
}

#[cfg(test)]
mod tests;

//! What a run of findings means. Pure: knows no time, no network and no service.

use portolan_core::{HealthReport, HealthStatus};

use crate::HealthConfig;

/// The health of one instance, as the findings so far make it.
///
/// It turns for the worse only after several failures in a row and for the better only after
/// several successes in a row, so that one odd answer changes nothing. What was never seen before
/// is believed at its first success.
#[derive(Debug, Clone)]
pub struct HealthState {
    status: HealthStatus,
    failures_before_critical: u32,
    successes_before_passing: u32,
    failures: u32,
    successes: u32,
}

/// An instance's health became another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthChange {
    /// What it was.
    pub from: HealthStatus,
    /// What it is, with the finding that decided it.
    pub to: HealthReport,
}

// === impl HealthState ===

impl HealthState {
    /// An instance of which this much is known.
    pub fn new(status: HealthStatus, config: &HealthConfig) -> Self {
        Self {
            status,
            failures_before_critical: config.failures_before_critical.get(),
            successes_before_passing: config.successes_before_passing.get(),
            failures: 0,
            successes: 0,
        }
    }

    /// The health by now.
    pub fn status(&self) -> HealthStatus {
        self.status
    }

    /// Takes one finding into account. `unknown` says nothing and changes nothing.
    pub fn observe(&mut self, found: HealthReport) -> Option<HealthChange> {
        let holds = match found.status {
            HealthStatus::Unknown => false,
            HealthStatus::Critical => self.failed(),
            HealthStatus::Passing | HealthStatus::Warning => self.answered(found.status),
        };
        holds.then(|| self.turn(found)).flatten()
    }

    /// Takes a finding that needs no second one, such as the end of a span without a report.
    pub fn decide(&mut self, found: HealthReport) -> Option<HealthChange> {
        match found.status {
            HealthStatus::Unknown => None,
            _ => self.turn(found),
        }
    }

    fn failed(&mut self) -> bool {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        self.failures >= self.failures_before_critical
    }

    fn answered(&mut self, found: HealthStatus) -> bool {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        // The instance itself says that it is unwell: nobody knows better.
        let worse = self.status < found;
        let enough = self.successes >= self.successes_before_passing;
        worse || enough || self.status == HealthStatus::Unknown
    }

    fn turn(&mut self, to: HealthReport) -> Option<HealthChange> {
        if self.status == to.status {
            return None;
        }
        let from = std::mem::replace(&mut self.status, to.status);
        Some(HealthChange { from, to })
    }
}

#[cfg(test)]
mod tests;

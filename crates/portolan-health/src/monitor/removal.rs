//! When an instance that stays critical is removed. Reads no clock.

use std::time::Duration;

use portolan_core::HealthStatus;
use tokio::time::Instant;

/// For how long an instance has been critical.
#[derive(Debug, Clone)]
pub(super) struct Removal {
    after: Option<Duration>,
    critical_for: Duration,
    /// When the last result was recorded; `None` while the instance is not critical.
    last: Option<Instant>,
    is_told: bool,
}

// === impl Removal ===

impl Removal {
    pub(super) fn new(after: Option<Duration>) -> Self {
        Self { after, critical_for: Duration::ZERO, last: None, is_told: false }
    }

    /// Records the health after a check, and returns whether the instance is to be removed now. The time before a late check, in
    /// which this host may have been suspended, does not count.
    pub(super) fn is_due(&mut self, status: HealthStatus, now: Instant, late: bool) -> bool {
        let Some(after) = self.after else { return false };
        if status != HealthStatus::Critical {
            *self = Self::new(Some(after));
            return false;
        }
        let last = self.last.replace(now);
        if !late {
            self.critical_for += last.map_or(Duration::ZERO, |last| now.duration_since(last));
        }
        let is_due = self.critical_for >= after && !self.is_told;
        self.is_told |= is_due;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use HealthStatus::{Critical, Passing};

    use super::*;

    const AFTER: Duration = Duration::from_secs(10);

    #[test]
    fn instance_is_removed_once_after_it_was_critical_for_the_time() {
        let (mut removal, start) = (Removal::new(Some(AFTER)), Instant::now());
        let mut is_due = |seconds, status, late| {
            removal.is_due(status, start + Duration::from_secs(seconds), late)
        };
        assert!(!is_due(0, Critical, false) && !is_due(9, Critical, false));
        assert!(!is_due(10, Passing, false), "it has recovered");
        assert!(!is_due(11, Critical, false) && !is_due(20, Critical, false));
        assert!(is_due(21, Critical, false));
        assert!(!is_due(40, Critical, false), "it is told once");
        assert!(!is_due(41, Passing, false) && !is_due(42, Critical, false));
        assert!(!is_due(100, Critical, true), "this host was suspended");
        assert!(!is_due(109, Critical, false));
        assert!(is_due(110, Critical, false));
    }

    #[test]
    fn instance_stays_without_the_setting() {
        let mut removal = Removal::new(None);
        let now = Instant::now();
        assert!(!removal.is_due(Critical, now, false));
        assert!(!removal.is_due(Critical, now + AFTER * 1000, false));
    }
}

//! The schedule of an instance's checks. Computes waits only; the caller sleeps.

use std::time::Duration;

use portolan_core::backoff::with_jitter;
use portolan_core::{Backoff, HealthStatus};

/// The wait after the first failed check of an instance that has never responded.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// How much the interval varies in both directions, so that checks which began together spread out.
const JITTER: f64 = 0.1;

/// The schedule of one instance's checks: with exponential backoff until it responds for the first
/// time, so that a starting service is found as soon as it listens, and at the interval after that.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    interval: Duration,
    /// The waits while the instance starts; `None` once it has responded or the waits have reached
    /// the interval.
    startup: Option<Backoff>,
}

// === impl Schedule ===

impl Schedule {
    /// Creates the schedule of an instance with this status.
    pub(crate) fn new(interval: Duration, status: HealthStatus) -> Self {
        let startup = || Backoff::new(FIRST_RETRY.min(interval), interval);
        Self { interval, startup: (status == HealthStatus::Unknown).then(startup) }
    }

    /// Returns whether a failure only means that the instance has not started yet.
    pub(crate) fn is_starting(&self) -> bool {
        self.startup.is_some()
    }

    /// Returns the wait after a check that left the instance with this status.
    pub(crate) fn next_wait(&mut self, status: HealthStatus) -> Duration {
        match self.startup.as_mut().filter(|_| status == HealthStatus::Unknown) {
            Some(startup) => {
                let wait = startup.next_wait();
                if wait * 2 >= self.interval {
                    self.startup = None;
                }
                wait
            }
            None => {
                self.startup = None;
                with_jitter(self.interval.mul_f64(1.0 + JITTER), 2.0 * JITTER / (1.0 + JITTER))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(300);

    #[test]
    fn starting_instance_is_checked_with_exponential_backoff() {
        let mut schedule = Schedule::new(INTERVAL, HealthStatus::Unknown);
        let waits: Vec<u128> =
            (0..3).map(|_| schedule.next_wait(HealthStatus::Unknown).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200]);
        assert!(!schedule.is_starting());
        assert!((270..=330).contains(&schedule.next_wait(HealthStatus::Unknown).as_millis()));
    }

    #[test]
    fn instance_that_responded_or_was_known_is_checked_at_the_interval() {
        for start in [HealthStatus::Unknown, HealthStatus::Critical] {
            let mut schedule = Schedule::new(INTERVAL, start);
            assert!((270..=330).contains(&schedule.next_wait(HealthStatus::Passing).as_millis()));
            assert!(!schedule.is_starting());
        }
    }

    #[test]
    fn startup_wait_never_exceeds_a_short_interval() {
        let mut schedule = Schedule::new(Duration::from_millis(20), HealthStatus::Unknown);
        assert_eq!(schedule.next_wait(HealthStatus::Unknown).as_millis(), 20);
        assert!(!schedule.is_starting());
    }
}

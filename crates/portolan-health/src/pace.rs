//! When to look next. Pure: knows no clock.

use std::time::Duration;

use portolan_core::HealthStatus;
use rand::RngExt;

/// How soon to look again at a service that has never answered.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// How much the interval varies to both sides, so that checks begun together drift apart.
const SPREAD: f64 = 0.1;

/// The rhythm of the checks of one instance: soon and then ever later until it answers for the
/// first time, so that a starting service is found as soon as it listens; evenly from then on.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    interval: Duration,
    /// The next wait while the instance starts; `None` once it has answered, or has had as long
    /// as an interval to do so.
    starting: Option<Duration>,
}

// === impl Pace ===

impl Pace {
    /// The rhythm for an instance of which this much is known.
    pub(crate) fn new(interval: Duration, status: HealthStatus) -> Self {
        let starting = (status == HealthStatus::Unknown).then_some(FIRST_RETRY.min(interval));
        Self { interval, starting }
    }

    /// Whether a failure means no more than that the instance is not up yet.
    pub(crate) fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    /// How long to wait after a check that left the instance with this status.
    pub(crate) fn next(&mut self, status: HealthStatus) -> Duration {
        match self.starting.filter(|_| status == HealthStatus::Unknown) {
            Some(wait) => {
                let doubled = wait * 2;
                self.starting = (doubled < self.interval).then_some(doubled);
                wait
            }
            None => {
                self.starting = None;
                self.interval.mul_f64(rand::rng().random_range(1.0 - SPREAD..=1.0 + SPREAD))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(300);

    #[test]
    fn a_starting_service_is_looked_at_soon_and_then_ever_later() {
        let mut pace = Pace::new(INTERVAL, HealthStatus::Unknown);
        let waits: Vec<u128> =
            (0..3).map(|_| pace.next(HealthStatus::Unknown).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200]);
        assert!(!pace.is_starting());
        assert!((270..=330).contains(&pace.next(HealthStatus::Unknown).as_millis()));
    }

    #[test]
    fn what_answered_or_was_known_before_is_looked_at_evenly() {
        for start in [HealthStatus::Unknown, HealthStatus::Critical] {
            let mut pace = Pace::new(INTERVAL, start);
            assert!((270..=330).contains(&pace.next(HealthStatus::Passing).as_millis()));
            assert!(!pace.is_starting());
        }
    }

    #[test]
    fn a_short_interval_is_never_exceeded_by_a_retry() {
        let mut pace = Pace::new(Duration::from_millis(20), HealthStatus::Unknown);
        assert_eq!(pace.next(HealthStatus::Unknown).as_millis(), 20);
        assert!(!pace.is_starting());
    }
}

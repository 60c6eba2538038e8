//! The schedule of an instance's checks. Computes waits only; the caller sleeps.

use std::time::Duration;

use portolan_core::backoff::with_jitter;
use portolan_core::{Backoff, HealthStatus};

use crate::CheckTiming;

/// The wait after the first failed check of an instance that has never responded.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// How much longer than the interval the wait becomes before an instance of another that has never responded is checked
/// again.
const LONGEST: u32 = 16;

/// The schedule of one instance's checks: with exponential backoff until it responds for the first
/// time, so that a starting service is found as soon as it listens, and at the interval after that.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    interval: Duration,
    jitter: f64,
    /// How long failures do not count yet.
    start_period: Duration,
    /// The waits while the instance starts; `None` once it has responded or the waits have reached
    /// the interval.
    startup: Option<Backoff>,
    /// The waits after that, until an instance of another responds for the first time.
    silent: Option<Backoff>,
    /// Whether the next wait at the interval is a random part of it, so that checks that began together spread out.
    is_in_step: bool,
    is_of_another: bool,
}

// === impl Schedule ===

impl Schedule {
    /// Creates the schedule of an instance with this status.
    pub(crate) fn new(timing: &CheckTiming, status: HealthStatus, is_of_another: bool) -> Self {
        let CheckTiming { interval, jitter, start_period, .. } = *timing;
        let startup = || Backoff::new(FIRST_RETRY.min(interval), interval);
        let silent = || Backoff::new(interval, interval * LONGEST);
        let is_unknown = status == HealthStatus::Unknown;
        Self {
            interval,
            jitter,
            start_period: if is_unknown { start_period } else { Duration::ZERO },
            startup: is_unknown.then(startup),
            silent: (is_unknown && is_of_another).then(silent),
            is_in_step: is_of_another,
            is_of_another,
        }
    }

    /// Returns the wait before the first check if it need not run at once.
    pub(crate) fn first_wait(&mut self) -> Duration {
        self.is_in_step = false;
        self.part()
    }

    /// Returns the wait that replaces a check which is due together with all others after this host was suspended; `None` if
    /// the check runs now.
    pub(crate) fn wait_after_pause(&self) -> Option<Duration> {
        self.is_of_another.then(|| self.part())
    }

    /// A random part of the interval.
    fn part(&self) -> Duration {
        with_jitter(self.interval, 1.0)
    }

    /// Returns whether a failure only means that the instance has not started yet.
    pub(crate) fn is_starting(&self) -> bool {
        self.startup.is_some() || !self.start_period.is_zero()
    }

    /// Returns the wait after a check that left the instance with this status.
    pub(crate) fn next_wait(&mut self, status: HealthStatus) -> Duration {
        let wait = self.wait_after(status);
        self.start_period = match status {
            HealthStatus::Unknown => self.start_period.saturating_sub(wait),
            _ => Duration::ZERO,
        };
        wait
    }

    fn wait_after(&mut self, status: HealthStatus) -> Duration {
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
                let has_responded = matches!(status, HealthStatus::Passing | HealthStatus::Warning);
                self.silent = self.silent.take().filter(|_| !has_responded);
                let interval =
                    self.silent.as_mut().map_or(self.interval, |silent| silent.next_wait());
                if std::mem::take(&mut self.is_in_step) {
                    return self.part();
                }
                let longest = 1.0 + self.jitter;
                with_jitter(interval.mul_f64(longest), 2.0 * self.jitter / longest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HealthConfig;

    const INTERVAL: Duration = Duration::from_millis(300);

    fn timing() -> CheckTiming {
        let config = HealthConfig { interval: INTERVAL, ..HealthConfig::default() };
        CheckTiming::from(&config)
    }

    #[test]
    fn starting_instance_is_checked_with_exponential_backoff() {
        let mut schedule = Schedule::new(&timing(), HealthStatus::Unknown, false);
        let waits: Vec<u128> =
            (0..3).map(|_| schedule.next_wait(HealthStatus::Unknown).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200]);
        assert!(!schedule.is_starting());
        assert!((270..=330).contains(&schedule.next_wait(HealthStatus::Unknown).as_millis()));
    }

    #[test]
    fn instance_that_responded_or_was_known_is_checked_at_the_interval() {
        for start in [HealthStatus::Unknown, HealthStatus::Critical] {
            let mut schedule = Schedule::new(&timing(), start, false);
            assert!((270..=330).contains(&schedule.next_wait(HealthStatus::Passing).as_millis()));
            assert!(!schedule.is_starting());
        }
    }

    #[test]
    fn failures_do_not_count_in_the_start_period() {
        let timing = CheckTiming { start_period: INTERVAL * 10, jitter: 0.0, ..timing() };
        let mut schedule = Schedule::new(&timing, HealthStatus::Unknown, false);
        let mut waited = Duration::ZERO;
        while schedule.is_starting() {
            waited += schedule.next_wait(HealthStatus::Unknown);
        }
        assert!((INTERVAL * 10..INTERVAL * 11).contains(&waited), "{waited:?}");
        let mut schedule = Schedule::new(&timing, HealthStatus::Unknown, false);
        schedule.next_wait(HealthStatus::Passing);
        assert!(!schedule.is_starting(), "the first success ends it");
        assert!(!Schedule::new(&timing, HealthStatus::Passing, false).is_starting());
    }

    #[test]
    fn wait_has_no_jitter_if_none_is_wanted() {
        let timing = CheckTiming { jitter: 0.0, ..timing() };
        let mut schedule = Schedule::new(&timing, HealthStatus::Passing, false);
        assert_eq!(schedule.next_wait(HealthStatus::Passing), INTERVAL);
    }

    #[test]
    fn instance_of_another_that_never_responded_is_checked_rarely() {
        let mut schedule = Schedule::new(&timing(), HealthStatus::Unknown, true);
        let waits: Vec<_> = (0..20).map(|_| schedule.next_wait(HealthStatus::Critical)).collect();
        assert!(waits[19] > INTERVAL * 10, "{waits:?}");
        let wait = schedule.next_wait(HealthStatus::Passing);
        assert!(wait < INTERVAL * 2, "{wait:?}");
        assert!(schedule.next_wait(HealthStatus::Critical) < INTERVAL * 2, "it has responded");
    }

    #[test]
    fn first_wait_of_an_instance_of_another_is_a_part_of_the_interval() {
        let waits: Vec<_> = (0..1000)
            .map(|_| {
                let mut schedule = Schedule::new(&timing(), HealthStatus::Unknown, true);
                let first = schedule.next_wait(HealthStatus::Passing);
                let second = schedule.next_wait(HealthStatus::Passing).as_millis();
                assert!((270..=330).contains(&second), "{second}");
                first
            })
            .collect();
        let early = waits.iter().filter(|wait| **wait < INTERVAL / 2).count();
        assert!((300..700).contains(&early), "{early}");
        assert!(waits.iter().all(|wait| *wait <= INTERVAL));
    }

    #[test]
    fn startup_wait_never_exceeds_a_short_interval() {
        let timing = CheckTiming { interval: Duration::from_millis(20), ..timing() };
        let mut schedule = Schedule::new(&timing, HealthStatus::Unknown, false);
        assert_eq!(schedule.next_wait(HealthStatus::Unknown).as_millis(), 20);
        assert!(!schedule.is_starting());
    }
}

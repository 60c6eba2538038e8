//! The heartbeat interval. Pure: knows no clock.

use std::time::Duration;

use portolan_core::Ttl;
use rand::RngExt;

/// How soon the registry is tried again after it was not to be reached.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The shortest heartbeat interval.
const SHORTEST: Duration = Duration::from_millis(10);
/// Waits are shortened by up to this share, so that agents started together drift apart.
const JITTER: f64 = 0.2;

/// The heartbeat interval of a service with this TTL: three times within it, so that two may
/// be lost, and no less often than `at_most` says.
pub(crate) fn interval(at_most: Duration, ttl: Ttl) -> Duration {
    at_most.max(SHORTEST).min(ttl.duration() / 3)
}

/// A wait that is never longer than asked for.
pub(crate) fn with_jitter(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0))
}

/// Waits that double from one failure to the next.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

// === impl Backoff ===

impl Backoff {
    /// How long to wait after one more failure, at most this long.
    pub(crate) fn next(&mut self, longest: Duration) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1).min(31);
        with_jitter(FIRST_RETRY.saturating_mul(factor).min(longest))
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeat_is_sent_at_least_three_times_per_ttl() {
        let seconds = |text: &str| interval(Duration::from_secs(30), text.parse().unwrap());
        assert_eq!(seconds("60s"), Duration::from_secs(20));
        assert_eq!(seconds("24h"), Duration::from_secs(30));
        assert_eq!(interval(Duration::ZERO, Ttl::DEFAULT), SHORTEST);
        for _ in 0..100 {
            let wait = with_jitter(seconds("60s")).as_secs_f64();
            assert!((16.0..=20.0).contains(&wait), "{wait}");
        }
    }

    #[test]
    fn retries_come_ever_later_and_never_later_than_a_heartbeat() {
        let mut backoff = Backoff::default();
        let longest = Duration::from_secs(1);
        for most in [250, 500, 1000, 1000] {
            let wait = backoff.next(longest).as_millis();
            assert!(wait <= most && wait >= most * 4 / 5, "{wait} for {most}");
        }
        for _ in 0..100 {
            assert!(backoff.next(longest) <= longest);
        }
        backoff.reset();
        assert!(backoff.next(longest) <= FIRST_RETRY);
    }
}

//! The heartbeat interval and the waits between retries, as pure functions.

use std::time::Duration;

use portolan_core::{Backoff, Ttl, backoff};

/// The first wait before a retry when the registry cannot be reached.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The shortest heartbeat interval.
const SHORTEST: Duration = Duration::from_millis(10);
/// The share by which waits are shortened at random, so that agents do not send at the same time.
const JITTER: f64 = 0.2;

/// Returns the heartbeat interval: a third of the TTL, so that two heartbeats may be lost, and
/// `maximum` if that is shorter.
pub(crate) fn interval(maximum: Duration, ttl: Ttl) -> Duration {
    maximum.max(SHORTEST).min(ttl.duration() / 3)
}

/// Shortens a wait at random by up to a fifth.
pub(crate) fn with_jitter(wait: Duration) -> Duration {
    backoff::with_jitter(wait, JITTER)
}

/// Returns the backoff of requests to the registry, without jitter; see [`next_retry`].
pub(crate) const fn retry_backoff() -> Backoff {
    Backoff::new(FIRST_RETRY, Ttl::MAX)
}

/// Returns the wait before the next retry, with jitter and never longer than `longest`.
pub(crate) fn next_retry(backoff: &mut Backoff, longest: Duration) -> Duration {
    with_jitter(backoff.next_wait().min(longest))
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
    fn retries_back_off_up_to_the_longest_wait() {
        let mut backoff = retry_backoff();
        let longest = Duration::from_secs(1);
        for most in [250, 500, 1000, 1000] {
            let wait = next_retry(&mut backoff, longest).as_millis();
            assert!(wait <= most && wait >= most * 4 / 5, "{wait} for {most}");
        }
        for _ in 0..100 {
            assert!(next_retry(&mut backoff, longest) <= longest);
        }
        backoff.reset();
        assert!(next_retry(&mut backoff, longest) <= FIRST_RETRY);
    }
}

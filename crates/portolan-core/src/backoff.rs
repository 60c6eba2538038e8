//! Exponential backoff with jitter. Computes durations only; the caller sleeps.

use std::time::Duration;

use rand::RngExt;

/// The waits between retries: each is twice the one before, up to a longest one.
///
/// Jitter shortens a wait at random, so that clients that failed together do not retry together.
/// A wait is never longer than the longest one.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    jitter: f64,
    next: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// Creates a backoff without jitter.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, jitter: 0.0, next: first }
    }

    /// Sets the largest share, from 0 to 1, by which a wait is shortened at random.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share.clamp(0.0, 1.0);
        self
    }

    /// Returns the wait before the next retry and doubles the one after it.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next.min(self.longest);
        self.next = wait.saturating_mul(2);
        with_jitter(wait, self.jitter)
    }

    /// Starts again at the first wait, after a success.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Shortens a wait at random by up to this share of it, from 0 to 1.
pub fn with_jitter(wait: Duration, share: f64) -> Duration {
    if share > 0.0 {
        wait.mul_f64(rand::rng().random_range(1.0 - share.min(1.0)..=1.0))
    } else {
        wait
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_a_reset() {
        let mut backoff = Backoff::new(millis(100), millis(350));
        let waits: Vec<_> = (0..4).map(|_| backoff.next_wait()).collect();
        assert_eq!(waits, [100, 200, 350, 350].map(millis));
        backoff.reset();
        assert_eq!(backoff.next_wait(), millis(100));
    }

    proptest! {
        #[test]
        fn jitter_only_shortens_and_nothing_overflows(
            first in any::<u64>(), longest in any::<u64>(), share in 0.0..=1.0_f64
        ) {
            let mut backoff = Backoff::new(millis(first), millis(longest)).jitter(share);
            for _ in 0..80 {
                prop_assert!(backoff.next_wait() <= millis(longest));
            }
        }

        #[test]
        fn a_jittered_wait_keeps_the_rest_of_its_share(wait in 0..100_000_u64, share in 0.0..=1.0_f64) {
            let shortened = with_jitter(millis(wait), share);
            prop_assert!(shortened <= millis(wait));
            prop_assert!(shortened.as_secs_f64() >= millis(wait).as_secs_f64() * (1.0 - share) - 1e-6);
        }
    }
}

//! A token bucket, as the generic cell rate algorithm: its state is the time at which it is full again. Pure: the caller keeps the
//! state and passes the time, of whichever clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// The size of a bucket, and how long it takes until it has one token more.
#[derive(Debug, Clone, Copy)]
pub struct TokenBucket {
    size: u32,
    interval: Duration,
}

// === impl TokenBucket ===

impl TokenBucket {
    /// Creates a bucket of this size that gets a token each interval.
    pub const fn new(size: u32, interval: Duration) -> Self {
        Self { size, interval }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// There is none: the time until there is.
    pub fn take<T>(self, full_at: &mut Option<T>, now: T) -> Result<(), Duration>
    where
        T: Copy + Ord + Add<Duration, Output = T> + Sub<T, Output = Duration>,
    {
        *full_at = Some(self.after(*full_at, now, 1)?);
        Ok(())
    }

    /// Returns whether there is one token.
    ///
    /// # Errors
    /// There is none: the time until there is.
    pub fn check<T>(self, full_at: Option<T>, now: T) -> Result<(), Duration>
    where
        T: Copy + Ord + Add<Duration, Output = T> + Sub<T, Output = Duration>,
    {
        self.after(full_at, now, 1).map(drop)
    }

    /// Returns when the bucket is full again after so many tokens are taken.
    ///
    /// # Errors
    /// It has not as many: the time until it has.
    pub fn after<T>(self, full_at: Option<T>, now: T, count: u32) -> Result<T, Duration>
    where
        T: Copy + Ord + Add<Duration, Output = T> + Sub<T, Output = Duration>,
    {
        let missing =
            full_at.map_or(Duration::ZERO, |at| if at > now { at - now } else { Duration::ZERO });
        let missing = missing + self.interval * count;
        let capacity = self.interval * self.size;
        if missing <= capacity { Ok(now + missing) } else { Err(missing - capacity) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time since some start.
    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn bucket_gives_a_burst_and_then_one_an_interval() {
        let (bucket, mut full_at) = (TokenBucket::new(3, at(10)), None);
        assert!((0..3).all(|_| bucket.take(&mut full_at, at(0)).is_ok()));
        assert_eq!(bucket.take(&mut full_at, at(4)), Err(at(6)));
        assert_eq!(bucket.check(full_at, at(10)), Ok(()));
        assert_eq!(bucket.take(&mut full_at, at(10)), Ok(()));
        assert_eq!(bucket.take(&mut full_at, at(10)), Err(at(10)));
        assert!((0..3).all(|_| bucket.take(&mut full_at, at(1_000)).is_ok()), "it is full again");
    }

    #[test]
    fn several_are_taken_together_or_not_at_all() {
        let bucket = TokenBucket::new(10, at(1));
        assert_eq!(bucket.after(None, at(0), 10), Ok(at(10)));
        assert_eq!(bucket.after(None, at(0), 11), Err(at(1)));
        assert_eq!(bucket.after(Some(at(10)), at(5), 5), Ok(at(15)));
        assert_eq!(bucket.after(Some(at(10)), at(5), 6), Err(at(1)));
    }
}

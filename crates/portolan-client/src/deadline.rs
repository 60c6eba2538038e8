//! The deadline of a lookup, handed down from the caller to the sockets.

use std::time::Duration;

use tokio::time::Instant;

/// The share of its time that a layer keeps for itself: the layer below ends first, so that the
/// error says what was waited for and not only that time ran out.
const RESERVE: u32 = 20;

/// A point in time by which work must end, and how long the work was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
    limit: Duration,
}

/// In place of what the clock of the system cannot express.
const FAR: Duration = Duration::from_hours(24 * 365 * 100);

// === impl Deadline ===

impl Deadline {
    /// Returns the deadline that ends after this time, counted from now.
    pub fn after(limit: Duration) -> Self {
        let now = Instant::now();
        Self { at: now.checked_add(limit).unwrap_or(now + FAR), limit }
    }

    /// Returns the point in time, for `tokio::time::timeout_at`.
    pub fn instant(self) -> Instant {
        self.at
    }

    /// Returns how long the work was given in total.
    pub fn limit(self) -> Duration {
        self.limit
    }

    /// Returns how much time is left; zero once the deadline has passed.
    pub fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Returns whether no time is left.
    pub fn is_over(self) -> bool {
        self.remaining().is_zero()
    }

    /// Returns whether less than half of the time is left, too little for another attempt.
    pub(crate) fn is_half_over(self) -> bool {
        self.remaining() <= self.limit / 2
    }

    /// Returns the earlier of this deadline and the one that ends after this time from now.
    pub(crate) fn at_most(self, limit: Duration) -> Self {
        Self::after(self.remaining().min(limit))
    }

    /// Returns the deadline for the next layer, 1/20 of the remaining time earlier.
    pub(crate) fn inner(self) -> Self {
        let remaining = self.remaining();
        Self::after(remaining - remaining / RESERVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_layer_ends_before_the_one_above_it() {
        let second = Duration::from_secs(1);
        let outer = Deadline::after(second);
        assert_eq!(outer.inner().remaining(), second * 19 / 20);
        assert_eq!(outer.at_most(second * 2).limit(), second);
        assert_eq!(outer.at_most(second / 4).remaining(), second / 4);

        tokio::time::advance(second / 2).await;
        assert!(outer.is_half_over() && !outer.is_over());
        assert_eq!(outer.at_most(second).limit(), second / 2);
        tokio::time::advance(second).await;
        assert!(outer.is_over() && outer.remaining().is_zero());
        assert_eq!(outer.limit(), second);
    }
}

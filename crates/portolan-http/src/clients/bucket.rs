//! A token bucket, as the generic cell rate algorithm: its state is the time at which it is full again.

use std::time::Duration;

use tokio::time::Instant;

/// The size of a bucket, and how long it takes until it has one more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    size: u32,
    interval: Duration,
}

// === impl Bucket ===

impl Bucket {
    pub(super) const fn new(size: u32, interval: Duration) -> Self {
        Self { size, interval }
    }

    /// Takes one. The error is the time until there is one.
    pub(super) fn take(self, full_at: &mut Option<Instant>) -> Result<(), Duration> {
        self.check(*full_at)?;
        let now = Instant::now();
        *full_at = Some(full_at.map_or(now, |full_at| full_at.max(now)) + self.interval);
        Ok(())
    }

    /// Whether there is one.
    pub(super) fn check(self, full_at: Option<Instant>) -> Result<(), Duration> {
        let missing = full_at
            .map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(Instant::now()));
        let after = missing + self.interval;
        let capacity = self.interval * self.size;
        if after <= capacity { Ok(()) } else { Err(after - capacity) }
    }
}

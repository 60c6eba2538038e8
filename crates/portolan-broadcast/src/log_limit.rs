//! Rate limit of warnings about datagrams: a flood of the channel must not flood the log.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The minimum interval between two warnings.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets one warning through per interval, and counts the suppressed ones.
#[derive(Debug, Default)]
pub(crate) struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

// === impl LogLimit ===

impl LogLimit {
    /// Returns the number of warnings suppressed since the last one if this one may be logged.
    pub(crate) fn acquire(&self) -> Option<u64> {
        let mut state = self.0.lock();
        let now = Instant::now();
        if state.last.is_some_and(|last| now < last + PAUSE) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn first_warning_passes_and_further_ones_are_counted() {
        let log_limit = LogLimit::default();
        assert_eq!(log_limit.acquire(), Some(0));
        assert_eq!([log_limit.acquire(), log_limit.acquire()], [None, None]);
        tokio::time::advance(PAUSE).await;
        assert_eq!(log_limit.acquire(), Some(2));
        assert_eq!(log_limit.acquire(), None);
    }
}

//! How often the log is told of what is wrong on the channel: whoever floods the channel shall not
//! flood the log too.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The least time between two complaints.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets a complaint through now and then, and counts those that it keeps back.
#[derive(Debug, Default)]
pub(crate) struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    untold: u64,
}

// === impl LogLimit ===

impl LogLimit {
    /// How many were kept back since the last one, where this one may be told.
    pub(crate) fn take(&self) -> Option<u64> {
        let mut state = self.0.lock();
        let now = Instant::now();
        if state.last.is_some_and(|last| now < last + PAUSE) {
            state.untold += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_the_rest_are_counted() {
        let log_limit = LogLimit::default();
        assert_eq!(log_limit.take(), Some(0));
        assert_eq!([log_limit.take(), log_limit.take()], [None, None]);
        tokio::time::advance(PAUSE).await;
        assert_eq!(log_limit.take(), Some(2));
        assert_eq!(log_limit.take(), None);
    }
}

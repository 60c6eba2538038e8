//! How long a search waits for sockets that nobody uses any more.
//!
//! The kernel frees the lock of a process that ended before its sockets; and a process that another
//! thread is just starting has a copy of every socket until it runs its own program. A port of that
//! kind is refused to a bind though nobody has it, for a moment. A search that passed it over would
//! move a service for no reason, or find a pool full that is empty.

use std::thread;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(1);
/// In all ports of a search together, so that a search ends soon whoever holds them. A process that
/// had a thousand sockets needs less than twenty.
const PAUSES: usize = 50;

/// What is left of a search's patience.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    left: usize,
}

// === impl RetryBudget ===

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self { left: PAUSES }
    }

    /// Waits for a moment, after which a refusal may be over; false where it waited long enough.
    pub(crate) fn try_wait(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        thread::sleep(PAUSE);
        true
    }
}

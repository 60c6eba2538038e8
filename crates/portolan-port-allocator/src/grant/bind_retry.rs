//! Bounded retry of binds that failed with `EADDRINUSE`.
//!
//! For a moment a port can be in use although no process needs it: the kernel releases the locks of
//! a process that ended before its sockets, and a process has copies of its parent's sockets between
//! fork(2) and execve(2). Without a retry a service would move to another port for no reason, or an
//! empty pool would seem full. A port that is only one of many is not waited for as long as there are others.

use std::thread;
use std::time::Duration;

use crate::grant::binder::{BindError, Binder, Refusal, Sockets};
use crate::request::PortRequest;

const PAUSE: Duration = Duration::from_millis(1);
/// For all ports of a search together. The kernel closes a thousand sockets in less than 20 pauses.
const PAUSES: usize = 50;

/// How many retries a search has left.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    left: usize,
}

/// Whether a port that is in use is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It is not, because it is known to be foreign.
    KnownForeign,
    /// It is not.
    Never,
    /// Unless a process listens on it.
    UnlessServed,
    /// Even if a process listens on it: its owner has ended, and the kernel may close its sockets later.
    ForSockets,
}

// === impl Wait ===

impl Wait {
    fn refusal(self) -> Refusal {
        match self {
            Self::KnownForeign => Refusal::Known,
            Self::Never => Refusal::PassOver,
            Self::UnlessServed | Self::ForSockets => Refusal::Distinguish,
        }
    }

    fn is_over_at_once(self) -> bool {
        matches!(self, Self::KnownForeign | Self::Never)
    }
}

// === impl RetryBudget ===

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self { left: PAUSES }
    }

    /// Binds a port, with retries as long as it may become free.
    pub(crate) fn bind(
        &mut self,
        binder: &mut Binder,
        port: u16,
        request: &PortRequest,
        wait: Wait,
    ) -> Result<Sockets, BindError> {
        loop {
            match binder.bind(port, request, wait.refusal()) {
                Err(BindError::InUse) if !wait.is_over_at_once() && self.try_wait() => {}
                Err(BindError::Served) if wait == Wait::ForSockets && self.try_wait() => {}
                bound_or_failed => return bound_or_failed,
            }
        }
    }

    /// Pauses before a retry; false if the budget is used up.
    fn try_wait(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        thread::sleep(PAUSE);
        true
    }
}

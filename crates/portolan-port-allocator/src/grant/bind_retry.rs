//! Bounded retry of binds that failed with `EADDRINUSE`.
//!
//! For a moment a port can be in use although no process needs it: the kernel releases the locks of
//! a process that ended before its sockets, and a process has copies of its parent's sockets between
//! fork(2) and execve(2). Without a retry a service would move to another port for no reason, or an
//! empty pool would seem full.

use std::thread;
use std::time::Duration;

use crate::grant::binder::{BindError, Binder, Sockets};
use crate::request::PortRequest;

const PAUSE: Duration = Duration::from_millis(1);
/// For all ports of a search together. The kernel closes a thousand sockets in less than 20 pauses.
const PAUSES: usize = 50;

/// How many retries a search has left.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    left: usize,
}

// === impl RetryBudget ===

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self { left: PAUSES }
    }

    /// Binds a port, with retries as long as it may become free. A listener is waited for only if its
    /// owner has ended: the kernel may close its sockets later.
    pub(crate) fn bind(
        &mut self,
        binder: &mut Binder,
        port: u16,
        request: &PortRequest,
        is_known_foreign: bool,
        owner_has_ended: bool,
    ) -> Result<Sockets, BindError> {
        loop {
            match binder.bind(port, request, is_known_foreign) {
                Err(BindError::InUse) if self.try_wait() => {}
                Err(BindError::Served) if owner_has_ended && self.try_wait() => {}
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

//! How long a search waits for sockets that nobody uses any more.
//!
//! The kernel frees the lock of a process that ended before its sockets; and a process that another
//! thread is just starting has a copy of every socket until it runs its own program. A port of that
//! kind is refused to a bind though nobody has it, for a moment. A search that passed it over would
//! move a service for no reason, or find a pool full that is empty.

use std::thread;
use std::time::Duration;

use crate::sockets;

const PAUSE: Duration = Duration::from_millis(1);
/// In all ports of a search together, so that a search ends soon whoever holds them. A process that
/// had a thousand sockets needs less than twenty.
const PAUSES: usize = 50;

/// What is left of a search's patience.
#[derive(Debug)]
pub(crate) struct Patience {
    left: usize,
}

// === impl Patience ===

impl Patience {
    pub(crate) fn new() -> Self {
        Self { left: PAUSES }
    }

    /// Waits for a moment, where the refusal of the port may be over after it; false where it is not
    /// worth while, because somebody listens on it. An owner that ended may still be seen to.
    pub(crate) fn pauses_for(&mut self, port: u16, in_udp: bool, owner_ended: bool) -> bool {
        if self.left == 0 || !owner_ended && sockets::has_listener(port, in_udp) {
            return false;
        }
        self.left -= 1;
        thread::sleep(PAUSE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_nobody_who_is_seen_and_not_for_ever() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        let mut patience = Patience::new();
        assert!(!patience.pauses_for(taken, false, false));
        drop(listener);
        assert!(patience.pauses_for(taken, false, false));
        while patience.pauses_for(taken, false, true) {}
        assert!(!patience.pauses_for(taken, false, false));
    }
}

//! How long a search waits for sockets that nobody uses any more.
//!
//! The kernel frees the lock of a process that ended before its sockets; and a process that another
//! thread is just starting has a copy of every socket until it runs its own program. A port of that
//! kind is refused to a bind though nobody has it, for a moment. A search that passed it over would
//! move a service for no reason, or find a pool full that is empty.

use std::cell::OnceCell;
use std::collections::HashSet;
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
    /// The ports that somebody is seen on, when the first refusal came.
    seen: OnceCell<HashSet<u16>>,
}

// === impl Patience ===

impl Patience {
    pub(crate) fn new() -> Self {
        Self { left: PAUSES, seen: OnceCell::new() }
    }

    /// Waits for a moment, where the refusal of the port may be over after it; false where it is not
    /// worth while. An owner that ended may still be seen.
    pub(crate) fn pauses_for(&mut self, port: u16, owner_ended: bool) -> bool {
        let is_seen = || self.seen.get_or_init(sockets::ports_in_use).contains(&port);
        if self.left == 0 || !owner_ended && is_seen() {
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
        assert!(!patience.pauses_for(taken, false));
        assert!(patience.pauses_for(taken, true));
        while patience.pauses_for(0, false) {}
        assert!(!patience.pauses_for(taken, true));
    }
}

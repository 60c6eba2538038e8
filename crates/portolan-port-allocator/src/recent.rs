//! What an allocator learned a moment ago, so that it need not ask the kernel for each port that it
//! passes: which sessions last, and which ports strangers have.
//!
//! Only what speaks against a port is remembered, and a search that found nothing looks again. So
//! at worst a port is passed over for a moment after it became free, where another one will do.

use std::cell::Cell;

use portolan_reservations::{SessionId, Table};

/// How long it is good for, in nanoseconds.
const FRESH: u64 = 5_000_000;
/// The number of ports, port 0 included.
const PORTS: usize = 1 << 16;

/// What is known, and since when. Times are in nanoseconds, by the system's clock.
#[derive(Debug)]
pub(crate) struct Recent {
    /// Who lasted, by the session's place.
    lasted: Vec<Cell<Option<(SessionId, u64)>>>,
    /// When a stranger was met, by port; 0 where none was.
    strangers: Vec<Cell<u64>>,
}

/// A look at the sessions from one of them, at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) table: &'a Table,
    pub(crate) recent: &'a Recent,
    pub(crate) own: SessionId,
    pub(crate) now: u64,
    /// Whether what was learned a moment ago will do.
    pub(crate) trusts: bool,
}

// === impl Recent ===

impl Recent {
    pub(crate) fn new() -> Self {
        Self {
            lasted: vec![Cell::new(None); SessionId::COUNT],
            strangers: vec![Cell::new(0); PORTS],
        }
    }
}

// === impl Look ===

impl Look<'_> {
    /// Whether the session lasts now.
    pub(crate) fn is_alive(&self, session: SessionId) -> bool {
        if session.place() == self.own.place() {
            return session == self.own;
        }
        let alive = self.table.is_alive(session, Some(self.own));
        self.recent.lasted[session.place()].set(alive.then_some((session, self.now)));
        alive
    }

    /// Whether the session lasts, or did a moment ago.
    pub(crate) fn was_alive(&self, session: SessionId) -> bool {
        let lasted = self.recent.lasted[session.place()].get();
        let is_known = |(known, at)| known == session && self.is_fresh(at);
        self.trusts && lasted.is_some_and(is_known) || self.is_alive(session)
    }

    /// Whether a stranger was met on the port a moment ago.
    pub(crate) fn met_stranger(&self, port: u16) -> bool {
        self.trusts && self.is_fresh(self.recent.strangers[usize::from(port)].get())
    }

    /// Remembers that a stranger has the port.
    pub(crate) fn meet_stranger(&self, port: u16) {
        self.recent.strangers[usize::from(port)].set(self.now);
    }

    fn is_fresh(&self, at: u64) -> bool {
        self.now.wrapping_sub(at) < FRESH
    }
}

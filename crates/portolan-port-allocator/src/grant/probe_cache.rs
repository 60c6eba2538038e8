//! What an allocator learned a moment ago, so that it need not ask the kernel again for each port
//! that it passes: which sessions last, and on which ports foreign processes were met.
//!
//! Only what speaks against a port is remembered, and a search that found nothing asks again. A port
//! is tried all the same where no session has it; what is remembered of a foreign process only spares the
//! question why it is refused.

use std::cell::RefCell;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use portolan_reservations::{SessionId, Table};

/// How long it is good for, in nanoseconds.
const FRESH: u64 = 20_000_000;

/// What is known, and since when: in nanoseconds, by the system's clock.
#[derive(Debug, Default)]
pub(crate) struct ProbeCache {
    /// Who lasted, by the session's place: no more than there are places.
    lasted: RefCell<HashMap<usize, (SessionId, u64), RandomState>>,
    /// Where a foreign process was met: no more than there are ports.
    foreign: RefCell<HashMap<u16, u64, RandomState>>,
}

/// A look at the sessions from one of them, at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionProbe<'a> {
    pub(crate) table: &'a Table,
    pub(crate) probe_cache: &'a ProbeCache,
    pub(crate) own: SessionId,
    pub(crate) now: u64,
    /// Whether what was learned a moment ago will do.
    pub(crate) trusts: bool,
}

// === impl SessionProbe ===

impl SessionProbe<'_> {
    /// Whether the session lasts now.
    pub(crate) fn is_alive(&self, session: SessionId) -> bool {
        if session.index() == self.own.index() {
            return session == self.own;
        }
        let alive = self.table.is_alive(session, Some(self.own));
        if alive {
            self.probe_cache.lasted.borrow_mut().insert(session.index(), (session, self.now));
        }
        alive
    }

    /// Whether the session lasts, or did a moment ago.
    pub(crate) fn was_alive_recently(&self, session: SessionId) -> bool {
        let lasted = self.probe_cache.lasted.borrow().get(&session.index()).copied();
        let is_known = |(known, at)| known == session && self.is_fresh(at);
        self.trusts && lasted.is_some_and(is_known) || self.is_alive(session)
    }

    /// Whether a foreign process was met on the port a moment ago.
    pub(crate) fn is_known_foreign(&self, port: u16) -> bool {
        let foreign = self.probe_cache.foreign.borrow();
        self.trusts && foreign.get(&port).is_some_and(|at| self.is_fresh(*at))
    }

    /// Remembers that a foreign process has the port.
    pub(crate) fn record_foreign(&self, port: u16) {
        self.probe_cache.foreign.borrow_mut().insert(port, self.now);
    }

    fn is_fresh(&self, at: u64) -> bool {
        self.now.wrapping_sub(at) < FRESH
    }
}

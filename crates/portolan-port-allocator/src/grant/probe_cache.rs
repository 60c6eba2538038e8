//! A negative cache of 20 ms: sessions known to be alive, and ports known to be occupied.
//!
//! It saves system calls for ports that a search passes over. It never grants a port: only reasons
//! against a port are cached, and a search that found no port runs again without the cache.

use std::cell::RefCell;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use portolan_reservations::{SessionId, Table};

/// How long an entry is valid, in nanoseconds.
const FRESH: u64 = 20_000_000;
/// How long a port that was waited for in vain is not waited for again, in nanoseconds: what ends a process's hold of a socket
/// takes a fraction of it.
const IN_VAIN: u64 = 1_000_000_000;

/// The cache. Times are in nanoseconds of the system's clock.
#[derive(Debug, Default)]
pub(crate) struct ProbeCache {
    /// Sessions that were alive, by their place in the table, which bounds the size.
    lasted: RefCell<HashMap<usize, (SessionId, u64), RandomState>>,
    /// Ports that foreign processes use; at most every port.
    foreign: RefCell<HashMap<u16, u64, RandomState>>,
    /// Ports that a search waited for in vain; at most every port.
    in_vain: RefCell<HashMap<u16, u64, RandomState>>,
}

/// Asks the kernel, or the cache, about sessions and ports on behalf of one search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelProbe<'a> {
    pub(crate) table: &'a Table,
    pub(crate) probe_cache: &'a ProbeCache,
    pub(crate) own: SessionId,
    pub(crate) now: u64,
    /// Whether cached answers are used.
    pub(crate) uses_cache: bool,
}

// === impl KernelProbe ===

impl KernelProbe<'_> {
    /// Whether the session is alive, as the kernel says.
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

    /// Whether the session is alive or was within the last 20 ms.
    pub(crate) fn was_alive_recently(&self, session: SessionId) -> bool {
        let lasted = self.probe_cache.lasted.borrow().get(&session.index()).copied();
        let is_known = |(known, at)| known == session && self.is_fresh(at);
        self.uses_cache && lasted.is_some_and(is_known) || self.is_alive(session)
    }

    /// Whether a foreign process used the port within the last 20 ms.
    pub(crate) fn is_known_foreign(&self, port: u16) -> bool {
        let foreign = self.probe_cache.foreign.borrow();
        self.uses_cache && foreign.get(&port).is_some_and(|at| self.is_fresh(*at))
    }

    /// Records that a foreign process uses the port.
    pub(crate) fn record_foreign(&self, port: u16) {
        self.probe_cache.foreign.borrow_mut().insert(port, self.now);
    }

    /// Whether a search waited for the port in vain within the last second.
    pub(crate) fn was_in_vain(&self, port: u16) -> bool {
        let in_vain = self.probe_cache.in_vain.borrow();
        in_vain.get(&port).is_some_and(|at| self.now.wrapping_sub(*at) < IN_VAIN)
    }

    /// Records that a search waited for the port in vain.
    pub(crate) fn record_in_vain(&self, port: u16) {
        self.probe_cache.in_vain.borrow_mut().insert(port, self.now);
    }

    fn is_fresh(&self, at: u64) -> bool {
        self.now.wrapping_sub(at) < FRESH
    }
}

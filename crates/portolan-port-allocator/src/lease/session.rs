//! The session: the owner of the leases of one allocator and its clones.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use portolan_reservations::{LeaseBound, SessionId, Table, TableError};

use crate::error::AllocatorError;
use crate::grant::binder::Binder;
use crate::grant::probe_cache::ProbeCache;
use crate::lease::{Held, PortLease};
use crate::request::{LeaseKey, PortRequest};

/// How long a sysctl value is used before it is read again, in nanoseconds.
const UNCHANGED: u64 = 2_000_000;

/// The session's id in the reservation table, once it is open, and its leases.
#[derive(Debug, Default)]
pub(crate) struct Session {
    id: Option<SessionId>,
    /// Weak, because only the handles keep a lease.
    leases: HashMap<LeaseKey, Weak<Held>, RandomState>,
    /// When sysctl values were read, in nanoseconds.
    read_at: u64,
    tools: Tools,
}

/// What searches of the session reuse.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    pub(crate) binder: Binder,
    pub(crate) probe_cache: ProbeCache,
    /// The last scan for the quotas.
    pub(crate) lease_bound: Option<LeaseBound>,
}

// === impl Session ===

impl Session {
    /// Returns the id in the table, if the session is open.
    pub(crate) fn id(&self) -> Option<SessionId> {
        self.id
    }

    /// Opens the session if necessary and checks the table. `now` is in nanoseconds.
    pub(crate) fn open(&mut self, table: &Table, now: u64) -> Result<SessionId, TableError> {
        table.check_cached(now)?;
        if now.wrapping_sub(self.read_at) >= UNCHANGED {
            self.tools().binder.read_system_default();
            self.read_at = now;
        }
        let id = match self.id {
            Some(id) => id,
            None => table.open_session(rand::random())?,
        };
        self.id = Some(id);
        Ok(id)
    }

    /// Returns what searches reuse.
    pub(crate) fn tools(&mut self) -> &mut Tools {
        &mut self.tools
    }

    /// Returns the lease on this port of the service.
    pub(crate) fn held(&self, key: &LeaseKey) -> Option<Arc<Held>> {
        let held = self.leases.get(key)?.upgrade()?;
        held.is_ours().then_some(held)
    }

    /// Returns another handle on the lease that the service holds, if it fits the request.
    pub(crate) fn lease_of(
        &self,
        request: &PortRequest,
        key: &LeaseKey,
    ) -> Result<Option<PortLease>, AllocatorError> {
        let Some(held) = self.held(key) else { return Ok(None) };
        let port = held.port();
        if request.preferred.contains(&port) {
            return Ok(PortLease::again(held));
        }
        let service = request.service.clone();
        match request.range.filter(|range| !range.contains(port)) {
            Some(range) => Err(AllocatorError::HeldElsewhere { service, port, range }),
            None if request.strict => Err(AllocatorError::HeldInstead { service, port }),
            None => Ok(PortLease::again(held)),
        }
    }

    /// Records a lease.
    pub(crate) fn insert(&mut self, key: LeaseKey, held: &Arc<Held>) {
        // Entries of ended leases are removed when the map would have to grow.
        if self.leases.len() == self.leases.capacity() {
            self.leases.retain(|_, held| held.strong_count() > 0);
        }
        self.leases.insert(key, Arc::downgrade(held));
    }
}

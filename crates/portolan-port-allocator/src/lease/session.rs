//! What this process holds through one allocator and its clones.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use portolan_reservations::{LeaseBound, SessionId, Table, TableError};

use crate::error::AllocatorError;
use crate::grant::binder::Binder;
use crate::grant::probe_cache::ProbeCache;
use crate::lease::{Held, PortLease};
use crate::request::{LeaseKey, PortRequest};

/// How long the system is taken for unchanged, in nanoseconds. It changes by hand or never.
const UNCHANGED: u64 = 2_000_000;

/// The session's place in the table, once it has one, and its leases.
#[derive(Debug, Default)]
pub(crate) struct Session {
    id: Option<SessionId>,
    /// A Weak does not keep a lease: that is its owner's business.
    leases: HashMap<LeaseKey, Weak<Held>, RandomState>,
    /// When the system was looked at, in nanoseconds.
    looked_at: u64,
    tools: Tools,
}

/// What a search works with, and leaves for the next one.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    pub(crate) binder: Binder,
    pub(crate) probe_cache: ProbeCache,
    /// The last scan for the quotas.
    pub(crate) lease_bound: Option<LeaseBound>,
}

// === impl Session ===

impl Session {
    /// Its place in the table, where it has one already.
    pub(crate) fn id(&self) -> Option<SessionId> {
        self.id
    }

    /// Its place in a table that is whole. `now` is in nanoseconds.
    pub(crate) fn open(&mut self, table: &Table, now: u64) -> Result<SessionId, TableError> {
        table.check_cached(now)?;
        if now.wrapping_sub(self.looked_at) >= UNCHANGED {
            self.tools().binder.look_at_system();
            self.looked_at = now;
        }
        let id = match self.id {
            Some(id) => id,
            None => table.open_session(rand::random())?,
        };
        self.id = Some(id);
        Ok(id)
    }

    /// What a search works with.
    pub(crate) fn tools(&mut self) -> &mut Tools {
        &mut self.tools
    }

    /// What is held for this port of the service.
    pub(crate) fn held(&self, key: &LeaseKey) -> Option<Arc<Held>> {
        let held = self.leases.get(key)?.upgrade()?;
        held.is_ours().then_some(held)
    }

    /// The lease that the service has already, where it fits what is asked for now.
    pub(crate) fn lease_of(
        &self,
        request: &PortRequest,
        key: &LeaseKey,
    ) -> Result<Option<PortLease>, AllocatorError> {
        let Some(held) = self.held(key) else { return Ok(None) };
        let port = held.port();
        match request.range.filter(|range| !range.contains(port)) {
            Some(range) if request.preferred != Some(port) => {
                let service = request.service.clone();
                Err(AllocatorError::HeldElsewhere { service, port, range })
            }
            _ => Ok(PortLease::again(held)),
        }
    }

    /// Remembers a lease as long as it lasts.
    pub(crate) fn keep(&mut self, key: LeaseKey, held: &Arc<Held>) {
        // Leases that ended leave an entry behind; they go whenever the map would have to grow.
        if self.leases.len() == self.leases.capacity() {
            self.leases.retain(|_, held| held.strong_count() > 0);
        }
        self.leases.insert(key, Arc::downgrade(held));
    }
}

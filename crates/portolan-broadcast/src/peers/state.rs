//! The state of the table and how an announcement changes it, as pure functions.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{Action, Change, ServiceEndpoint, ServiceId, ServiceName, Ttl};
use tokio::time::Instant;

use super::shares::Shares;
use super::{Full, Origin};

/// How long the tombstone of a deregistered instance is kept, so that a heartbeat that was overtaken by
/// the deregistration does not restore the instance.
const TOMBSTONE_TTL: Duration = Duration::from_secs(5);

/// How long an unsigned message decides which later one is older, which is only because datagrams are reordered. Anybody can
/// send a high sequence number in the name of another sender, which must not mute it.
const REORDER_SPAN: Duration = TOMBSTONE_TTL;

/// The instances by id, by name and by expiry.
#[derive(Debug)]
pub(super) struct State {
    max: usize,
    entries: HashMap<ServiceId, Entry>,
    names: HashMap<ServiceName, HashSet<ServiceId>>,
    ends: BTreeSet<(Instant, ServiceId)>,
    shares: Shares,
}

#[derive(Debug)]
struct Entry {
    endpoint: Arc<ServiceEndpoint>,
    is_tombstone: bool,
    ends: Instant,
    origin: Origin,
    received_at: Instant,
}

// === impl State ===

impl State {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            entries: HashMap::new(),
            names: HashMap::new(),
            ends: BTreeSet::new(),
            shares: Shares::default(),
        }
    }

    /// Applies an announcement, and returns the changes. If the table is full, an instance of the source with the most makes room.
    pub(super) fn apply(
        &mut self,
        action: Action,
        endpoint: &Arc<ServiceEndpoint>,
        ttl: Ttl,
        origin: Origin,
        now: Instant,
    ) -> Result<Vec<Change>, Full> {
        let before = self.entries.get(&endpoint.id);
        if before.is_some_and(|entry| entry.is_newer_than(&origin, now)) {
            return Ok(Vec::new());
        }
        let living =
            before.filter(|entry| !entry.is_tombstone).map(|entry| Arc::clone(&entry.endpoint));
        if action == Action::Deregister {
            let change = living.map(|endpoint| self.replace_by_tombstone(endpoint, origin, now));
            return Ok(change.into_iter().collect());
        }
        let mut changes = Vec::new();
        if before.is_none() && self.entries.len() >= self.max {
            changes.extend(self.make_room(&origin)?);
        }
        let ends = now + ttl.duration();
        let received_at = now;
        self.put(Entry {
            endpoint: Arc::clone(endpoint),
            is_tombstone: false,
            ends,
            origin,
            received_at,
        });
        changes.extend(difference(living.as_deref(), Arc::clone(endpoint)));
        Ok(changes)
    }

    /// Removes the expired entries, and returns the changes.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        while self.next_expiry().is_some_and(|end| end <= now) {
            let Some((_, id)) = self.ends.pop_first() else { break };
            let Some(entry) = self.remove(&id) else { continue };
            if !entry.is_tombstone {
                changes.push(Change::Expired { endpoint: entry.endpoint });
            }
        }
        changes
    }

    /// Returns when the next entry expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Returns the instances of the service, or of all services, without tombstones.
    pub(super) fn live(
        &self,
        name: Option<&ServiceName>,
    ) -> impl Iterator<Item = &Arc<ServiceEndpoint>> {
        let named = name.map(|name| self.names.get(name).into_iter().flatten());
        let all = name.is_none().then(|| self.entries.keys());
        let ids = named.into_iter().flatten().chain(all.into_iter().flatten());
        ids.filter_map(|id| self.entries.get(id))
            .filter(|entry| !entry.is_tombstone)
            .map(|entry| &entry.endpoint)
    }

    fn make_room(&mut self, origin: &Origin) -> Result<Option<Change>, Full> {
        let id = self.shares.entry_to_replace(origin.source).ok_or(Full)?;
        let entry = self.remove(&id).ok_or(Full)?;
        Ok((!entry.is_tombstone).then_some(Change::Expired { endpoint: entry.endpoint }))
    }

    fn replace_by_tombstone(
        &mut self,
        endpoint: Arc<ServiceEndpoint>,
        origin: Origin,
        now: Instant,
    ) -> Change {
        let ends = now + TOMBSTONE_TTL;
        let received_at = now;
        self.put(Entry {
            endpoint: Arc::clone(&endpoint),
            is_tombstone: true,
            ends,
            origin,
            received_at,
        });
        Change::Deregistered { endpoint }
    }

    fn put(&mut self, entry: Entry) {
        let id = entry.endpoint.id.clone();
        self.remove(&id);
        self.ends.insert((entry.ends, id.clone()));
        self.shares.insert(entry.origin.source, entry.ends, id.clone());
        self.names.entry(entry.endpoint.name.clone()).or_default().insert(id.clone());
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: &ServiceId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.ends.remove(&(entry.ends, id.clone()));
        self.shares.remove(entry.origin.source, entry.ends, id.clone());
        if let Some(ids) = self.names.get_mut(&entry.endpoint.name) {
            ids.remove(id);
            if ids.is_empty() {
                self.names.remove(&entry.endpoint.name);
            }
        }
        Some(entry)
    }
}

impl Entry {
    /// Returns whether the entry is from a later message of the same sender.
    fn is_newer_than(&self, origin: &Origin, now: Instant) -> bool {
        match (&self.origin.number, &origin.number) {
            (Some(ours), Some(theirs)) => {
                let counts = ours.is_signed || now < self.received_at + REORDER_SPAN;
                counts && ours.sender == theirs.sender && ours.sequence > theirs.sequence
            }
            _ => false,
        }
    }
}

fn difference(before: Option<&ServiceEndpoint>, endpoint: Arc<ServiceEndpoint>) -> Option<Change> {
    let Some(before) = before else { return Some(Change::Registered { endpoint }) };
    if !before.same_contents(&endpoint) {
        return Some(Change::Updated { endpoint });
    }
    (before.health != endpoint.health).then_some(Change::Health { endpoint })
}

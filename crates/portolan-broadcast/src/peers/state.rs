//! What is known, and how an announcement changes it. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{
    Action, Change, ServiceAnnouncement, ServiceEndpoint, ServiceId, ServiceName, Ttl,
};
use tokio::time::Instant;

use super::{Full, Origin};

/// How long it is remembered that an instance went, so that a heartbeat which the farewell
/// overtook on the way does not bring it back.
const GONE_SPAN: Duration = Duration::from_secs(5);

/// The instances, by id, by name and by the end of their time.
#[derive(Debug)]
pub(super) struct State {
    max: usize,
    entries: HashMap<ServiceId, Entry>,
    names: HashMap<ServiceName, HashSet<ServiceId>>,
    ends: BTreeSet<(Instant, ServiceId)>,
}

#[derive(Debug)]
struct Entry {
    endpoint: Arc<ServiceEndpoint>,
    lives: bool,
    ends: Instant,
    origin: Option<Origin>,
}

// === impl State ===

impl State {
    pub(super) fn new(max: usize) -> Self {
        Self { max, entries: HashMap::new(), names: HashMap::new(), ends: BTreeSet::new() }
    }

    /// Takes in an announcement; the change where it tells something new.
    pub(super) fn hear(
        &mut self,
        announcement: &ServiceAnnouncement,
        ttl: Ttl,
        origin: Option<Origin>,
        now: Instant,
    ) -> Result<Option<Change>, Full> {
        let endpoint = Arc::new(announcement.service.clone());
        let before = self.entries.get(&endpoint.id);
        if before.is_some_and(|entry| entry.is_newer_than(origin.as_ref())) {
            return Ok(None);
        }
        let living = before.filter(|entry| entry.lives).map(|entry| Arc::clone(&entry.endpoint));
        if announcement.action == Action::Deregister {
            return Ok(living.map(|endpoint| self.bury(endpoint, origin, now)));
        }
        if before.is_none() && self.entries.len() >= self.max {
            return Err(Full);
        }
        let ends = now + ttl.duration();
        self.put(Entry { endpoint: Arc::clone(&endpoint), lives: true, ends, origin });
        Ok(difference(living.as_deref(), endpoint))
    }

    /// Forgets what has ended; the changes that this makes.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        while self.next_expiry().is_some_and(|end| end <= now) {
            let Some((_, id)) = self.ends.pop_first() else { break };
            let Some(entry) = self.remove(&id) else { continue };
            if entry.lives {
                changes.push(Change::Expired { endpoint: entry.endpoint });
            }
        }
        changes
    }

    /// When something ends next.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// The living instances of the service, or of all.
    pub(super) fn of(
        &self,
        name: Option<&ServiceName>,
    ) -> impl Iterator<Item = &Arc<ServiceEndpoint>> {
        let named = name.map(|name| self.names.get(name).into_iter().flatten());
        let all = name.is_none().then(|| self.entries.keys());
        let ids = named.into_iter().flatten().chain(all.into_iter().flatten());
        ids.filter_map(|id| self.entries.get(id))
            .filter(|entry| entry.lives)
            .map(|entry| &entry.endpoint)
    }

    fn bury(
        &mut self,
        endpoint: Arc<ServiceEndpoint>,
        origin: Option<Origin>,
        now: Instant,
    ) -> Change {
        let ends = now + GONE_SPAN;
        self.put(Entry { endpoint: Arc::clone(&endpoint), lives: false, ends, origin });
        Change::Deregistered { endpoint }
    }

    fn put(&mut self, entry: Entry) {
        let id = entry.endpoint.id.clone();
        self.remove(&id);
        self.ends.insert((entry.ends, id.clone()));
        self.names.entry(entry.endpoint.name.clone()).or_default().insert(id.clone());
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: &ServiceId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.ends.remove(&(entry.ends, id.clone()));
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
    /// Whether this is already what the sender said later.
    fn is_newer_than(&self, origin: Option<&Origin>) -> bool {
        match (&self.origin, origin) {
            (Some(ours), Some(theirs)) => {
                ours.sender == theirs.sender && ours.sequence > theirs.sequence
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

//! The state of the store `memory`: endpoints, their leases, and the backlog of each feed.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::{Change, Revision, ServiceEndpoint, ServiceEvent, ServiceId, Source, Ttl};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue};

use super::feed::Backlog;
use super::index::Index;
use crate::store::decide::{
    Concerned, Decision, Effect, EndpointLimits, Known, Put, Terms, decide, outcome,
};
use crate::store::owner::Owner;
use crate::store::{Committed, Update};
use crate::{
    Command, CommandOrigin, CommandOutcome, InvalidRegistryConfig, RegistryConfig, RegistryError,
};

/// How long a lease lasts after its timer fired. If the process was suspended, heartbeats that
/// arrived in time wait beside the timers; they are committed within this time.
const GRACE: Duration = Duration::from_millis(100);
/// How late a timer may be before the scan ends its lease: as late as a lease may end at all.
pub(super) const OVERDUE: Duration = Duration::from_secs(1);
/// The number of leases that end in one step, so that many at once do not block commits.
pub(super) const EXPIRIES: usize = 256;
/// The number of entries of an update, so that applying it does not block readers.
pub(super) const UPDATE: usize = 256;
#[derive(Debug)]
pub(super) struct State {
    records: HashMap<ServiceId, Record>,
    index_of: Index,
    leases: DelayQueue<ServiceId>,
    revision: Revision,
    /// The number of entries that were emitted.
    index: u64,
    feeds: HashMap<u64, Backlog>,
    next_feed: u64,
    ttl_default: Ttl,
    limits: EndpointLimits,
    /// The number of records that were learned by broadcast.
    pub(super) broadcast: usize,
}

#[derive(Debug)]
struct Record {
    endpoint: Arc<ServiceEndpoint>,
    owner: Owner,
    lease: delay_queue::Key,
    ends: Instant,
    /// Whether its timer fired and the grace runs.
    in_grace: bool,
}

/// An endpoint whose lease ended, and the revision of that.
pub(super) type Expired = (Arc<ServiceEndpoint>, Revision);

// === impl State ===

impl State {
    pub(super) fn new(
        config: &RegistryConfig,
        revision: Revision,
    ) -> Result<Self, InvalidRegistryConfig> {
        Ok(Self {
            records: HashMap::new(),
            index_of: Index::default(),
            leases: DelayQueue::new(),
            revision,
            index: 0,
            feeds: HashMap::new(),
            next_feed: 0,
            ttl_default: config.ttl()?,
            limits: EndpointLimits::from_config(config),
            broadcast: 0,
        })
    }

    pub(super) fn index(&self) -> u64 {
        self.index
    }

    // --- commits

    pub(super) fn commit(
        &mut self,
        command: &Command,
        origin: CommandOrigin,
    ) -> Result<CommandOutcome, RegistryError> {
        let terms = Terms { origin, ttl_default: self.ttl_default, now: Timestamp::now() };
        match decide(command, &self.concerned(command), terms)? {
            Decision::Put(put) => self.put(command, put, origin),
            Decision::Remove => {
                let id = command.id();
                let removed = self.remove(&id, |endpoint| Change::Deregistered { endpoint });
                let (endpoint, revision) = removed.ok_or(RegistryError::Unknown { id })?;
                Ok(CommandOutcome::Deregistered { endpoint, revision })
            }
        }
    }

    fn concerned(&self, command: &Command) -> Concerned<'_> {
        let id = command.id();
        let known = |id: &ServiceId| self.records.get(id).map(Record::known);
        let neighbours = match command {
            Command::Register(registration) => self.index_of.neighbours(registration),
            _ => Vec::new(),
        };
        Concerned {
            known: known(&id),
            successor: self.index_of.successor(&id).and_then(known),
            neighbours: neighbours.iter().filter_map(known).collect(),
        }
    }

    fn put(
        &mut self,
        command: &Command,
        put: Put,
        origin: CommandOrigin,
    ) -> Result<CommandOutcome, RegistryError> {
        let Put { endpoint, effect, owner, displaced } = put;
        if effect == Effect::Registered {
            let total = self.records.len() - displaced.len();
            self.limits.check(origin.source(), total, self.broadcast)?;
        }
        let displaced = displaced
            .iter()
            .filter_map(|id| self.remove(id, |endpoint| Change::Deregistered { endpoint }))
            .collect();
        let id = endpoint.id.clone();
        let owner = owner.or_else(|| self.records.get(&id).map(|record| record.owner.clone()));
        let (endpoint, moved_from) = self.emit_put(endpoint, effect);
        let owner = owner.unwrap_or_else(|| Owner::new(origin));
        self.store(&endpoint, owner, command.renews_lease());
        Ok(outcome(command, endpoint, effect, moved_from, displaced))
    }

    /// Emits the effect, with a revision if it is a change.
    fn emit_put(
        &mut self,
        mut endpoint: ServiceEndpoint,
        effect: Effect,
    ) -> (Arc<ServiceEndpoint>, Option<Arc<ServiceEndpoint>>) {
        let moved_from = (effect == Effect::Moved)
            .then(|| self.remove(&endpoint.id, |endpoint| Change::Deregistered { endpoint }))
            .flatten();
        if effect != Effect::Renewed {
            self.revision.0 += 1;
            endpoint.revision = self.revision;
        }
        let stored = Arc::new(endpoint);
        let endpoint = Arc::clone(&stored);
        match effect {
            Effect::Registered | Effect::Moved => self.emit_change(Change::Registered { endpoint }),
            Effect::Updated => self.emit_change(Change::Updated { endpoint }),
            Effect::Health => self.emit_change(Change::Health { endpoint }),
            Effect::Renewed => self.emit(&Committed::Renewed(endpoint)),
        }
        (stored, moved_from.map(|(endpoint, _)| endpoint))
    }

    fn store(&mut self, endpoint: &Arc<ServiceEndpoint>, owner: Owner, renew: bool) {
        let ttl = endpoint.ttl.duration();
        let ends = Instant::now() + ttl;
        self.broadcast += usize::from(endpoint.source == Source::Broadcast);
        let Some(record) = self.records.get_mut(&endpoint.id) else {
            self.index_of.insert(endpoint, &owner);
            let lease = self.leases.insert(endpoint.id.clone(), ttl);
            let endpoint = Arc::clone(endpoint);
            let record = Record { endpoint, owner, lease, ends, in_grace: false };
            self.records.insert(record.endpoint.id.clone(), record);
            return;
        };
        self.broadcast -= usize::from(record.endpoint.source == Source::Broadcast);
        if !record.is_indexed_like(endpoint, &owner) {
            self.index_of.remove(&record.endpoint, &record.owner);
            self.index_of.insert(endpoint, &owner);
        }
        record.endpoint = Arc::clone(endpoint);
        record.owner = owner;
        if renew {
            record.ends = ends;
            record.in_grace = false;
            self.leases.reset(&record.lease, ttl);
        }
    }

    fn remove(
        &mut self,
        id: &ServiceId,
        change: impl FnOnce(Arc<ServiceEndpoint>) -> Change,
    ) -> Option<Expired> {
        let Record { endpoint, owner, lease, .. } = self.records.remove(id)?;
        self.index_of.remove(&endpoint, &owner);
        // The lease is no longer in the queue if its timer has just fired.
        self.leases.try_remove(&lease);
        self.broadcast -= usize::from(endpoint.source == Source::Broadcast);
        self.revision.0 += 1;
        self.emit_change(change(Arc::clone(&endpoint)));
        Some((endpoint, self.revision))
    }

    // --- leases

    /// Ends leases whose timers fired, at most [`EXPIRIES`] at once.
    pub(super) fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<Vec<Expired>> {
        let mut expired = Vec::new();
        for _ in 0..EXPIRIES {
            let Poll::Ready(Some(fired)) = self.leases.poll_expired(context) else {
                return if expired.is_empty() { Poll::Pending } else { Poll::Ready(expired) };
            };
            let id = fired.into_inner();
            let Some(record) = self.records.get_mut(&id) else { continue };
            if record.in_grace {
                expired.extend(self.expire(&id));
            } else {
                record.in_grace = true;
                record.lease = self.leases.insert(id, GRACE);
            }
        }
        Poll::Ready(expired)
    }

    /// Ends the leases whose timers should have fired long ago.
    pub(super) fn expire_overdue(&mut self, now: Instant) -> Vec<Expired> {
        let overdue = self.records.iter().filter(|(_, record)| record.ends + OVERDUE <= now);
        let overdue: Vec<_> = overdue.map(|(id, _)| id.clone()).collect();
        overdue.iter().filter_map(|id| self.expire(id)).collect()
    }

    fn expire(&mut self, id: &ServiceId) -> Option<Expired> {
        self.remove(id, |endpoint| Change::Expired { endpoint })
    }

    // --- feeds

    pub(super) fn open_feed(&mut self) -> (u64, Arc<Notify>) {
        let (id, notify) = (self.next_feed, Arc::new(Notify::new()));
        self.next_feed += 1;
        self.feeds.insert(id, Backlog::new(Arc::clone(&notify)));
        (id, notify)
    }

    pub(super) fn close_feed(&mut self, id: u64) {
        self.feeds.remove(&id);
    }

    /// Takes the next update of a feed, if there is one.
    pub(super) fn take_update(&mut self, id: u64) -> Option<Update> {
        let backlog = self.feeds.get_mut(&id)?;
        if std::mem::take(&mut backlog.reset) {
            let endpoints = self.records.values().map(|record| Arc::clone(&record.endpoint));
            let reset =
                Committed::Reset { endpoints: endpoints.collect(), revision: self.revision };
            return Some(Update { committed: vec![reset], index: self.index });
        }
        let count = backlog.entries.len().min(UPDATE);
        let committed: Vec<_> = backlog.entries.drain(..count).collect();
        let index = self.index - u64::try_from(backlog.entries.len()).unwrap_or(u64::MAX);
        (count > 0).then_some(Update { committed, index })
    }

    fn emit_change(&mut self, change: Change) {
        let event = ServiceEvent { revision: self.revision, change };
        self.emit(&Committed::Changed(Arc::new(event)));
    }

    fn emit(&mut self, entry: &Committed) {
        self.index += 1;
        self.feeds.values_mut().for_each(|backlog| backlog.push(entry.clone()));
    }
}

// === impl Record ===

impl Record {
    fn known(&self) -> Known<'_> {
        Known { endpoint: &self.endpoint, owner: &self.owner }
    }

    /// Whether the endpoint and the owner have the same entries in the index.
    fn is_indexed_like(&self, endpoint: &ServiceEndpoint, owner: &Owner) -> bool {
        let place = |e: &ServiceEndpoint| (e.port, e.protocol.clone());
        place(&self.endpoint) == place(endpoint)
            && self.endpoint.hosts().eq(endpoint.hosts())
            && self.owner.fenced == owner.fenced
    }
}

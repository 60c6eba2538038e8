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
use super::journal::record::{Instance, PutKind, Record as Entry, RemoveKind};
use super::journal::recovery::Recovered;
use super::outbox::{Ack, Batch, Durability, Outbox, Previous, Undo};
use crate::store::decide::{
    Concerned, Decision, Effect, EndpointLimits, Known, Put, Terms, decide, outcome,
};
use crate::store::owner::Owner;
use crate::store::{Committed, History, Update};
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
    /// How many of them are final. The feeds get no more.
    durable: u64,
    outbox: Outbox,
    /// The changes of earlier servers, until the first feed has them.
    history: Option<History>,
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
    /// Whether the lease was extended since its last renewal.
    extended: bool,
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
            durable: 0,
            outbox: Outbox::default(),
            history: None,
            feeds: HashMap::new(),
            next_feed: 0,
            ttl_default: config.ttl()?,
            limits: EndpointLimits::from_config(config),
            broadcast: 0,
        })
    }

    /// Takes over what was recovered from a data directory. The revision is the one to start with.
    pub(super) fn restore(&mut self, recovered: Recovered, durability: Durability) {
        let now = (Timestamp::now(), Instant::now());
        self.revision = recovered.revision;
        self.history = Some(recovered.history);
        self.outbox.durability = durability;
        for Instance { endpoint, owner, ends, extended } in recovered.instances.into_values() {
            let left = Duration::try_from(ends.duration_since(now.0)).unwrap_or_default();
            // Longer only if the clock was set back.
            let ends = now.1 + left.min(endpoint.ttl.duration());
            self.attach(Previous { endpoint, owner, ends, extended });
        }
    }

    pub(super) fn index(&self) -> u64 {
        self.index
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    // --- commits

    pub(super) fn commit(
        &mut self,
        command: &Command,
        origin: CommandOrigin,
    ) -> Result<CommandOutcome, RegistryError> {
        let terms = Terms { origin, ttl_default: self.ttl_default, now: Timestamp::now() };
        let decision = decide(command, &self.concerned(command), terms)?;
        if matches!(
            &decision,
            Decision::Remove
                | Decision::Put(Put {
                    effect: Effect::Registered | Effect::Moved | Effect::Updated,
                    ..
                })
        ) {
            self.outbox.check_writable()?;
        }
        match decision {
            Decision::Put(put) => self.put(command, put, origin),
            Decision::Remove => {
                let id = command.id();
                let removed = self.remove(&id, RemoveKind::Deregistered);
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
            .filter_map(|id| self.remove(id, RemoveKind::Deregistered))
            .collect();
        let moved_from = (effect == Effect::Moved)
            .then(|| self.remove(&endpoint.id, RemoveKind::Deregistered))
            .flatten();
        let moved_from = moved_from.map(|(endpoint, _)| endpoint);
        let known = self.records.get(&endpoint.id).map(|record| record.owner.clone());
        let renews_only = effect == Effect::Renewed && owner.is_none() && command.renews_lease();
        let owner = owner.or(known).unwrap_or_else(|| Owner::new(origin));
        let (endpoint, kind) = self.emit_put(endpoint, effect);
        let put = Arc::clone(&endpoint);
        self.outbox.push(|| match renews_only {
            true => Entry::Renew { id: put.id.clone(), at: put.last_heartbeat },
            false => Entry::Put { kind, endpoint: put, owner: owner.clone() },
        });
        if matches!(effect, Effect::Registered | Effect::Moved | Effect::Updated) {
            self.push_undo(&endpoint.id);
        }
        self.store(&endpoint, owner, command.renews_lease());
        Ok(outcome(command, endpoint, effect, moved_from, displaced))
    }

    /// Emits the effect, with a revision if it is a change.
    fn emit_put(
        &mut self,
        mut endpoint: ServiceEndpoint,
        effect: Effect,
    ) -> (Arc<ServiceEndpoint>, PutKind) {
        if effect != Effect::Renewed {
            self.revision.0 += 1;
            endpoint.revision = self.revision;
        }
        let stored = Arc::new(endpoint);
        let endpoint = Arc::clone(&stored);
        let kind = match effect {
            Effect::Registered | Effect::Moved => {
                self.emit_change(Change::Registered { endpoint });
                PutKind::Registered
            }
            Effect::Updated => {
                self.emit_change(Change::Updated { endpoint });
                PutKind::Updated
            }
            Effect::Health => {
                self.emit_change(Change::Health { endpoint });
                PutKind::Health
            }
            Effect::Renewed => {
                self.emit(&Committed::Renewed(endpoint));
                PutKind::Renewed
            }
        };
        (stored, kind)
    }

    fn store(&mut self, endpoint: &Arc<ServiceEndpoint>, owner: Owner, renew: bool) {
        let ttl = endpoint.ttl.duration();
        let ends = Instant::now() + ttl;
        let Some(record) = self.records.get_mut(&endpoint.id) else {
            let endpoint = Arc::clone(endpoint);
            return self.attach(Previous { endpoint, owner, ends, extended: false });
        };
        self.broadcast += usize::from(endpoint.source == Source::Broadcast);
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
            record.extended = false;
            self.leases.reset(&record.lease, ttl);
        }
    }

    fn remove(&mut self, id: &ServiceId, kind: RemoveKind) -> Option<Expired> {
        if kind == RemoveKind::Deregistered {
            self.push_undo(id);
        }
        let Previous { endpoint, .. } = self.detach(id)?;
        self.revision.0 += 1;
        let revision = self.revision;
        self.outbox.push(|| Entry::Remove { kind, id: id.clone(), revision });
        let removed = Arc::clone(&endpoint);
        self.emit_change(match kind {
            RemoveKind::Deregistered => Change::Deregistered { endpoint: removed },
            RemoveKind::Expired => Change::Expired { endpoint: removed },
        });
        Some((endpoint, revision))
    }

    /// Adds an instance that is not there, without a change for anyone.
    fn attach(&mut self, instance: Previous) {
        let Previous { endpoint, owner, ends, extended } = instance;
        self.broadcast += usize::from(endpoint.source == Source::Broadcast);
        self.index_of.insert(&endpoint, &owner);
        let lease = self.leases.insert_at(endpoint.id.clone(), ends);
        let id = endpoint.id.clone();
        let record = Record { endpoint, owner, lease, ends, in_grace: false, extended };
        self.records.insert(id, record);
    }

    /// Takes an instance away, without a change for anyone.
    fn detach(&mut self, id: &ServiceId) -> Option<Previous> {
        let Record { endpoint, owner, lease, ends, extended, .. } = self.records.remove(id)?;
        self.index_of.remove(&endpoint, &owner);
        // The lease is no longer in the queue if its timer has just fired.
        self.leases.try_remove(&lease);
        self.broadcast -= usize::from(endpoint.source == Source::Broadcast);
        Some(Previous { endpoint, owner, ends, extended })
    }

    // --- the journal

    fn push_undo(&mut self, id: &ServiceId) {
        let record = self.records.get(id);
        self.outbox.push_undo(|| Undo {
            id: id.clone(),
            previous: record.map(|record| Previous {
                endpoint: Arc::clone(&record.endpoint),
                owner: record.owner.clone(),
                ends: record.ends,
                extended: record.extended,
            }),
        });
    }

    /// Registers a caller that waits until everything so far is final; gives it back if it is.
    pub(super) fn wait_until_final(&mut self, ack: Ack) -> Option<Ack> {
        if self.durable == self.index {
            return Some(ack);
        }
        self.outbox.pending.acks.push(ack);
        None
    }

    pub(super) fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    pub(super) fn take_batch(&mut self) -> Batch {
        self.outbox.take(self.index)
    }

    /// Everything up to the index is final.
    pub(super) fn confirm(&mut self, index: u64) {
        self.durable = self.durable.max(index);
        self.feeds.values().for_each(Backlog::notify);
    }

    /// Undoes what is not final, the newest first, and rejects further writes. The feeds continue with a reset.
    pub(super) fn revert(&mut self, batch: Batch, reason: &str) {
        let newer = self.take_batch();
        let reason = Arc::from(reason);
        self.outbox.durability = Durability::ReadOnly { reason, recording: false };
        for Undo { id, previous } in batch.undo.into_iter().chain(newer.undo).rev() {
            self.detach(&id);
            previous.into_iter().for_each(|previous| self.attach(previous));
        }
        self.durable = self.index;
        self.feeds.values_mut().for_each(Backlog::reset);
        for ack in batch.acks.into_iter().chain(newer.acks) {
            // The caller may have stopped waiting.
            _ = ack.send(self.outbox.check_writable());
        }
    }

    /// Every instance with its lease.
    pub(super) fn instances(&self) -> Vec<Instance> {
        let now = (Timestamp::now(), Instant::now());
        let instance = |record: &Record| {
            let left = record.ends.saturating_duration_since(now.1);
            Instance {
                endpoint: Arc::clone(&record.endpoint),
                owner: record.owner.clone(),
                ends: now.0.checked_add(left).unwrap_or(Timestamp::MAX),
                extended: record.extended,
            }
        };
        self.records.values().map(instance).collect()
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
        self.remove(id, RemoveKind::Expired)
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
            let (endpoints, revision) = (endpoints.collect(), self.revision);
            let history = self.history.take().filter(|_| self.index == 0);
            let reset = Committed::Reset { endpoints, revision, history };
            backlog.held = Some(Update { committed: vec![reset], index: self.index });
        }
        if let Some(held) = backlog.held.take_if(|held| held.index <= self.durable) {
            return Some(held);
        }
        if backlog.held.is_some() {
            return None;
        }
        let waiting = usize::try_from(self.index - self.durable).unwrap_or(usize::MAX);
        let count = backlog.entries.len().saturating_sub(waiting).min(UPDATE);
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
        if self.outbox.is_final_at_once() {
            self.durable = self.index;
        }
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

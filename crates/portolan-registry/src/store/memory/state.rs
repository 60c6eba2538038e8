//! The state of the store `memory`: endpoints, their leases, and the backlog of each feed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use portolan_core::{
    Change, HealthReport, Revision, ServiceEndpoint, ServiceEvent, ServiceId, Source,
};
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue};

use super::feed::FeedQueue;
use super::journal::record::{PutKind, Record as Entry, RemoveKind};
use super::outbox::{Detached, Outbox};
use super::settings::SettingsState;
use crate::store::decide::{
    CommandRules, Concerned, Decision, Effect, Known, Put, Terms, decide, outcome,
};
use crate::store::index::Index;
use crate::store::mass_expiry::MassExpiry;
use crate::store::owner::{Owner, Place};
use crate::store::{Committed, History};
use crate::{
    Command, CommandOrigin, CommandOutcome, InvalidRegistryConfig, RegistryConfig, RegistryError,
};

mod durability;
mod feeds;
mod leases;

#[cfg(test)]
pub(super) use leases::{EXPIRIES, OVERDUE};

/// The endpoints and everything that belongs to them.
#[derive(Debug)]
pub(super) struct State {
    /// Boxed, because a third of the table is empty.
    records: HashMap<ServiceId, Box<Record>>,
    index_of: Index,
    leases: DelayQueue<ServiceId>,
    revision: Revision,
    /// The number of entries that were emitted.
    index: u64,
    /// How many of them are final. The feeds get no more.
    durable: u64,
    outbox: Outbox,
    pub(super) settings: SettingsState,
    /// The changes of earlier servers, until the first feed has them.
    history: Option<History>,
    /// The instances whose leases ended while no server ran.
    overdue: Vec<ServiceId>,
    mass_expiry: MassExpiry,
    /// The number of instances that are kept because too many leases ended at once.
    protected: usize,
    /// When the leases were polled last.
    polled: Option<Instant>,
    feeds: HashMap<u64, FeedQueue>,
    next_feed: u64,
    rules: CommandRules,
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
    /// The health of an instance that is kept although its lease ended while no server ran.
    kept: Option<HealthReport>,
    /// Whether it is kept although its lease ended, because too many ended at once.
    protected: bool,
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
            settings: SettingsState::new(),
            history: None,
            overdue: Vec::new(),
            mass_expiry: MassExpiry::from_config(config),
            protected: 0,
            polled: None,
            feeds: HashMap::new(),
            next_feed: 0,
            rules: CommandRules::from_config(config)?,
            broadcast: 0,
        })
    }

    pub(super) fn reconfigure(
        &mut self,
        config: &RegistryConfig,
    ) -> Result<(), InvalidRegistryConfig> {
        self.rules = CommandRules::from_config(config)?;
        self.mass_expiry.reconfigure(config);
        Ok(())
    }

    pub(super) fn index(&self) -> u64 {
        self.index
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// The number of instances that are kept because too many leases ended at once.
    pub(super) fn protected(&self) -> usize {
        self.protected
    }

    /// The host that registered an instance.
    pub(super) fn registrant(&self, id: &ServiceId) -> Option<IpAddr> {
        self.records.get(id)?.owner.peer
    }

    // --- commits

    pub(super) fn commit(
        &mut self,
        command: &Command,
        origin: &CommandOrigin,
    ) -> Result<CommandOutcome, RegistryError> {
        let terms = Terms { origin, ttl_default: self.rules.ttl_default, now: Timestamp::now() };
        let decision = decide(command, &self.concerned(command), terms)?;
        let needs_journal = match &decision {
            Decision::Remove => true,
            Decision::Put(put) => put.effect.is_registration(),
        };
        if needs_journal {
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
        self.index_of.concerned(command, |id| self.records.get(id).map(|record| record.known()))
    }

    fn put(
        &mut self,
        command: &Command,
        mut put: Put,
        origin: &CommandOrigin,
    ) -> Result<CommandOutcome, RegistryError> {
        self.rules.limits.check_put(&put, origin.source(), (self.records.len(), self.broadcast))?;
        let registered_by = |registrant: &_| self.index_of.registered_by(registrant);
        self.rules.limits.check_registrant(&put, origin, registered_by)?;
        if let Some(Record { endpoint, kept: Some(before), .. }) =
            self.records.get(&put.endpoint.id).map(Box::as_ref)
            && command.renews_lease()
        {
            put.restore_health(endpoint, before);
            if put.effect == Effect::Renewed {
                // The journal has to know that it is kept no longer.
                put.effect = Effect::Health;
            }
        }
        let Put { endpoint, effect, owner, displaced } = put;
        let displaced =
            displaced.iter().filter_map(|id| self.remove(id, RemoveKind::Deregistered)).collect();
        let moved_from = (effect == Effect::Moved)
            .then(|| self.remove(&endpoint.id, RemoveKind::Deregistered))
            .flatten();
        let moved_from = moved_from.map(|(endpoint, _)| endpoint);
        let renews_only = effect == Effect::Renewed && owner.is_none() && command.renews_lease();
        let owner = owner
            .or_else(|| self.records.get(&endpoint.id).map(|record| record.owner.clone()))
            .unwrap_or_else(|| Owner::new(origin));
        let (endpoint, kind) = self.emit_put(endpoint, effect);
        let put = Arc::clone(&endpoint);
        self.outbox.push(|| match renews_only {
            true => Entry::Renew { id: put.id.clone(), at: put.last_heartbeat },
            false => {
                let (owner, kept, until) = (owner.clone(), None, None);
                Entry::Put { kind, endpoint: put, owner, kept, until }
            }
        });
        if effect.is_registration() {
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
            let (extended, kept, protected) = (false, None, false);
            let new = Detached { endpoint, owner, ends, extended, kept, protected };
            return self.attach(new);
        };
        self.broadcast += usize::from(endpoint.source == Source::Broadcast);
        self.broadcast -= usize::from(record.endpoint.source == Source::Broadcast);
        if !record.is_indexed_like(endpoint, &owner) {
            self.index_of.remove(&record.endpoint, &record.owner);
            self.index_of.insert(endpoint, &owner);
        }
        record.endpoint = Arc::clone(endpoint);
        record.owner = owner;
        record.kept = None;
        if renew {
            record.ends = ends;
            record.in_grace = false;
            record.extended = false;
            self.protected -= usize::from(std::mem::take(&mut record.protected));
            self.leases.reset(&record.lease, ttl);
        }
    }

    fn remove(&mut self, id: &ServiceId, kind: RemoveKind) -> Option<Expired> {
        if kind == RemoveKind::Deregistered {
            self.push_undo(id);
        }
        let Detached { endpoint, .. } = self.detach(id)?;
        self.revision.0 += 1;
        let revision = self.revision;
        let removed = Arc::clone(&endpoint);
        self.outbox.push(|| Entry::Remove { kind, endpoint: Arc::clone(&removed), revision });
        self.emit_change(match kind {
            RemoveKind::Deregistered => Change::Deregistered { endpoint: removed },
            RemoveKind::Expired => Change::Expired { endpoint: removed },
        });
        Some((endpoint, revision))
    }

    /// Adds an instance that is not there, without a change for anyone.
    fn attach(&mut self, instance: Detached) {
        self.index_of.insert(&instance.endpoint, &instance.owner);
        self.attach_unindexed(instance);
    }

    /// Does the same without an entry in the index.
    fn attach_unindexed(&mut self, instance: Detached) {
        let Detached { endpoint, owner, ends, extended, kept, protected } = instance;
        self.broadcast += usize::from(endpoint.source == Source::Broadcast);
        let lease = self.leases.insert_at(endpoint.id.clone(), ends);
        let id = endpoint.id.clone();
        self.protected += usize::from(protected);
        let record =
            Record { endpoint, owner, lease, ends, in_grace: false, extended, kept, protected };
        self.records.insert(id, Box::new(record));
    }

    /// Takes an instance away, without a change for anyone.
    fn detach(&mut self, id: &ServiceId) -> Option<Detached> {
        let Record { endpoint, owner, lease, ends, extended, kept, protected, .. } =
            *self.records.remove(id)?;
        self.protected -= usize::from(protected);
        self.index_of.remove(&endpoint, &owner);
        // The lease is no longer in the queue if its timer has just fired.
        self.leases.try_remove(&lease);
        self.broadcast -= usize::from(endpoint.source == Source::Broadcast);
        Some(Detached { endpoint, owner, ends, extended, kept, protected })
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
        self.feeds.values_mut().for_each(|queue| queue.backlog.push(entry.clone()));
    }
}

// === impl Record ===

impl Record {
    fn known(&self) -> Known<'_> {
        Known { endpoint: &self.endpoint, owner: &self.owner }
    }

    /// Whether the endpoint and the owner have the same entries in the index.
    fn is_indexed_like(&self, endpoint: &ServiceEndpoint, owner: &Owner) -> bool {
        Place::all(&self.endpoint).eq(Place::all(endpoint))
            && (self.owner.peer, &self.owner.fenced) == (owner.peer, &owner.fenced)
    }
}

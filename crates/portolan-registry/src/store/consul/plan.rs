//! What a command writes: a decision as a transaction that takes effect only if what it was decided on still holds.
//! Without I/O.
//!
//! A decision depends on the instance of the id, on those at the places of a registration, and on the one whose owner
//! has fenced the id. The transaction requires that
//!
//! - the keys of the id, of the successor and of each displaced instance were not written since,
//! - the guards of the places and of the id were not written since. Every registration that changes something writes
//!   those of its places and of the ids that its owner has fenced, so none has arrived that the decision did not
//!   consider.
//!
//! So whatever was committed meanwhile, by this server or another one, the decision is the one that the state at the
//! transaction's index requires. A rejection is verified in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_consul::KvTransaction;
use portolan_core::{Revision, ServiceEndpoint, ServiceId};

use super::keys::{Guard, Keys};
use super::record::{ChangeValue, Removed, Value};
use super::replica::{Record, Replica};
use crate::store::decide::{Decision, Effect, EndpointLimits, Put, Terms, decide, outcome};
use crate::store::owner::{Owner, Place};
use crate::store::remote::{KeptValue, LAST, Written, revision};
use crate::{Command, CommandOutcome, RegistryError, ServerId};

/// The step that a command requires.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) fence: Fence,
    pub(super) step: Step,
}

/// What a decision depends on: the index at which each key was written, 0 if it does not exist.
#[derive(Debug)]
pub(super) struct Fence {
    endpoints: BTreeMap<ServiceId, u64>,
    guards: BTreeMap<Guard, u64>,
}

#[derive(Debug)]
pub(super) enum Step {
    /// The command is rejected.
    Reject(RegistryError),
    /// This server holds the lease: it starts the timer again, and nothing is written.
    Renew { written: u64, endpoint: ServiceEndpoint },
    /// The endpoint is as the command requires already: a health report that reports nothing new.
    Keep(Arc<ServiceEndpoint>),
    /// Instances are removed: the one that is deregistered, or the first ones of very many that are displaced.
    Remove(Vec<Record>),
    /// An endpoint is stored.
    Store(Box<Stored>),
}

/// An endpoint to be stored.
#[derive(Debug)]
pub(super) struct Stored {
    put: Put,
    owner: Owner,
    written: Written,
    /// Whether the instance gets its full TTL again, from this server.
    renews: bool,
    /// The guards that it writes, with the indexes at which they were written.
    guards: BTreeMap<Guard, u64>,
    /// The instance of the id, as it was.
    old: Option<Record>,
    displaced: Vec<Record>,
}

/// What a decision is made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planner<'a> {
    pub(super) keys: &'a Keys,
    pub(super) server: ServerId,
    pub(super) limits: EndpointLimits,
    pub(super) terms: Terms<'a>,
}

// === impl Planner ===

impl Planner<'_> {
    /// Decides what a command requires.
    pub(super) fn plan(&self, replica: &Replica, command: &Command) -> Plan {
        let concerned = replica.concerned(command);
        let mut fence = Fence::of(replica, command);
        if let Some(successor) = concerned.successor {
            fence.add(replica, &successor.endpoint.id);
        }
        let step = match decide(command, &concerned, self.terms) {
            Err(error) => Step::Reject(error),
            Ok(Decision::Remove) => {
                Step::Remove(replica.record(&command.id()).cloned().into_iter().collect())
            }
            Ok(Decision::Put(put)) => self.store(replica, command, put, &fence),
        };
        step.displaced().iter().for_each(|record| fence.add(replica, &record.endpoint.id));
        Plan { fence, step }
    }

    /// Servers that commit at the same time may exceed a limit together, because none sees what the others are about to store.
    fn check_limits(&self, replica: &Replica, put: &Put) -> Result<(), RegistryError> {
        let origin = self.terms.origin;
        self.limits.check_put(put, origin.source(), replica.counts())?;
        self.limits.check_registrant(put, origin, |registrant| replica.registered_by(registrant))
    }

    fn store(&self, replica: &Replica, command: &Command, mut put: Put, fence: &Fence) -> Step {
        let id = command.id();
        let old = replica.record(&id).cloned();
        let returns = old.as_ref().is_some_and(|old| {
            KeptValue::restore(old.kept.as_ref(), &old.endpoint, &mut put, command)
        });
        if put.effect == Effect::Renewed
            && put.owner.is_none()
            && !returns
            && let Some(old) = &old
        {
            if command.renews_lease() && old.server == self.server && !replica.is_ending(old) {
                return Step::Renew { written: old.written, endpoint: put.endpoint };
            }
            if !command.renews_lease() && put.endpoint == *old.endpoint {
                return Step::Keep(Arc::clone(&old.endpoint));
            }
        }
        let displaced = put.displaced.iter().filter_map(|id| replica.record(id).cloned());
        let mut displaced: Vec<_> = displaced.collect();
        if let Err(error) = self.check_limits(replica, &put) {
            return Step::Reject(error);
        }
        let owner = put.owner.clone().or_else(|| old.as_ref().map(|old| old.owner.clone()));
        let owner = owner.unwrap_or_else(|| Owner::new(self.terms.origin));
        let written = Written::new(put.effect, command.renews_lease());
        let renews = returns || written.is_registration();
        let guards = match put.effect.is_registration() {
            true => guards(&put.endpoint, &owner),
            false => BTreeSet::new(),
        };
        let guards: BTreeMap<_, _> =
            guards.into_iter().map(|guard| (guard, replica.guarded(guard))).collect();
        let unwritten = fence.guards.keys().filter(|guard| !guards.contains_key(guard)).count();
        // The endpoint and the change.
        let used = 2 + fence.endpoints.len() + guards.len() + unwritten;
        let room = KvTransaction::LIMIT.saturating_sub(used);
        if displaced.len() > room {
            // Without the guards that would be written, and the endpoint, there is more room than for one.
            displaced.truncate(room.max(8));
            return Step::Remove(displaced);
        }
        Step::Store(Box::new(Stored { put, owner, written, renews, guards, old, displaced }))
    }

    /// The transaction that only verifies what was decided on.
    pub(super) fn verify(&self, fence: &Fence) -> KvTransaction {
        fence.checks(self.keys, &BTreeSet::new(), &BTreeMap::new())
    }

    /// The transaction that removes instances; `change` is the name of the change.
    pub(super) fn remove(&self, fence: &Fence, removed: &[Record], change: &str) -> KvTransaction {
        let written = removed.iter().map(|record| &record.endpoint.id).collect();
        let transaction = fence.checks(self.keys, &written, &BTreeMap::new());
        let value = ChangeValue { removed: deregistered(removed), ..ChangeValue::default() };
        self.delete(transaction, removed).write(&self.keys.change(change), &value.encode())
    }

    /// The transaction that stores an endpoint; `change` is the name of the change.
    pub(super) fn write(&self, fence: &Fence, stored: &Stored, change: &str) -> KvTransaction {
        let Stored { put, owner, written, guards, old, displaced, .. } = stored;
        let id = &put.endpoint.id;
        let server = match old {
            Some(old) if !stored.renews => old.server,
            _ => self.server,
        };
        let value = Value::new(put.endpoint.clone(), owner.clone(), *written, server, change);
        let value = value.kept(stored.kept());
        let encoded = value.encode();
        let ids = displaced.iter().map(|record| &record.endpoint.id).chain([id]).collect();
        let mut transaction = self.delete(fence.checks(self.keys, &ids, guards), displaced);
        for (guard, index) in guards {
            // Consul does not count a write of the same value.
            let name = change.as_bytes();
            transaction = transaction.write_if(&self.keys.guard(*guard), name, *index);
        }
        let known = fence.endpoints.get(id).copied().unwrap_or(0);
        let removed = deregistered(displaced);
        let guards = guards.keys().copied().collect();
        let change_value = ChangeValue { removed, stored: Some(value.in_change(&encoded)), guards };
        transaction
            .write_if(&self.keys.endpoint(id), &encoded, known)
            .write(&self.keys.change(change), &change_value.encode())
    }

    fn delete(&self, transaction: KvTransaction, removed: &[Record]) -> KvTransaction {
        removed.iter().fold(transaction, |transaction, record| {
            transaction.delete_if(&self.keys.endpoint(&record.endpoint.id), record.written)
        })
    }
}

// === impl Fence ===

impl Fence {
    /// What every decision on the command depends on.
    fn of(replica: &Replica, command: &Command) -> Self {
        let id = command.id();
        let mut guards = BTreeSet::from([Guard::of_fenced(&id)]);
        guards.extend(command.places().iter().map(Guard::of_place));
        let guards = guards.into_iter().map(|guard| (guard, replica.guarded(guard))).collect();
        let mut fence = Self { endpoints: BTreeMap::new(), guards };
        fence.add(replica, &id);
        fence
    }

    fn add(&mut self, replica: &Replica, id: &ServiceId) {
        self.endpoints.insert(id.clone(), replica.written(id));
    }

    /// The checks of all keys but those that the transaction writes, which are checked by that.
    fn checks(
        &self,
        keys: &Keys,
        written: &BTreeSet<&ServiceId>,
        guards: &BTreeMap<Guard, u64>,
    ) -> KvTransaction {
        let mut checks = KvTransaction::default();
        for (id, index) in self.endpoints.iter().filter(|(id, _)| !written.contains(id)) {
            checks = checks.check(&keys.endpoint(id), *index);
        }
        for (guard, index) in self.guards.iter().filter(|(guard, _)| !guards.contains_key(guard)) {
            checks = checks.check(&keys.guard(*guard), *index);
        }
        checks
    }
}

// === impl Step ===

impl Step {
    fn displaced(&self) -> &[Record] {
        match self {
            Self::Remove(removed) => removed,
            Self::Store(stored) => &stored.displaced,
            Self::Reject(_) | Self::Renew { .. } | Self::Keep(_) => &[],
        }
    }
}

// === impl Stored ===

impl Stored {
    /// Until when the instance is kept although its lease ended: a health report changes nothing about that.
    fn kept(&self) -> Option<KeptValue> {
        let old = self.old.as_ref().filter(|_| !self.renews);
        old?.kept.as_ref().map(KeptValue::reported)
    }

    /// The outcome of the command, once it is stored at this index.
    pub(super) fn outcome(
        self,
        command: &Command,
        index: u64,
        mut displaced: Vec<(Arc<ServiceEndpoint>, Revision)>,
    ) -> CommandOutcome {
        let Self { put, old, .. } = self;
        let mut endpoint = put.endpoint;
        if put.effect != Effect::Renewed {
            endpoint.revision = revision(index, LAST);
        }
        let moved_from = old.filter(|_| put.effect == Effect::Moved).map(|old| old.endpoint);
        displaced.extend(removals(&self.displaced, index));
        outcome(command, Arc::new(endpoint), put.effect, moved_from, displaced)
    }
}

/// The guards that a registration writes: those of its places, and of the ids that its owner has fenced.
pub(super) fn guards(endpoint: &ServiceEndpoint, owner: &Owner) -> BTreeSet<Guard> {
    let fenced = owner.fenced.iter().map(|(fenced, _)| fenced).filter(|id| **id != endpoint.id);
    let places = Place::all(endpoint).map(|place| Guard::of_place(&place));
    places.chain(fenced.map(Guard::of_fenced)).collect()
}

fn deregistered(removed: &[Record]) -> Vec<Removed> {
    let ids = removed.iter().map(|record| record.endpoint.id.clone());
    ids.map(|id| Removed { id, expired: false }).collect()
}

/// The instances that a transaction has removed, with the revisions of that.
pub(super) fn removals(
    removed: &[Record],
    index: u64,
) -> impl Iterator<Item = (Arc<ServiceEndpoint>, Revision)> {
    (0..)
        .zip(removed)
        .map(move |(change, record)| (Arc::clone(&record.endpoint), revision(index, change)))
}

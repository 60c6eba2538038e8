//! What a command writes: a decision as a transaction that takes effect only if what it was decided on
//! still holds. Without I/O.
//!
//! A decision depends on the instance of the id, on those at the places of a registration, and on the one
//! whose owner has fenced the id. The transaction requires that
//!
//! - the keys of the id, of the successor and of each displaced instance were not written since,
//! - no key `by-address` of a place, and no key `by-fenced` of the id, was written after the revision of
//!   the replica. Every registration that changes something writes those of its places and of the ids
//!   that its owner has fenced, so none has arrived that the decision did not consider.
//!
//! So whatever was committed meanwhile, by this server or another one, the decision is the one that the
//! state at the transaction's revision requires. A rejection is verified in the same way.

use std::collections::BTreeSet;
use std::sync::Arc;

use portolan_core::{Revision, ServiceEndpoint};
use portolan_etcd::{EtcdLease, Transaction};

use super::keys::Keys;
use super::record::{Value, revision};
use super::replica::{Record, Replica};
use crate::store::decide::{Decision, Effect, EndpointLimits, Put, Terms, decide, outcome};
use crate::store::owner::{Owner, Place};
use crate::store::remote::{KeptValue, LAST, Written};
use crate::{Command, CommandOutcome, RegistryError, ServerId};

/// How many instances are displaced by one transaction: etcd allows 128 operations in it.
const DISPLACED: usize = 48;
/// How long etcd keeps an endpoint that no server renews, beyond its TTL. Servers end leases at their
/// deadline; etcd does it for servers that never return.
const BACKSTOP: i64 = 3600;

/// The step that a command requires.
#[derive(Debug)]
pub(super) struct Plan {
    /// What the decision depends on.
    pub(super) fence: Transaction,
    pub(super) step: Step,
}

#[derive(Debug)]
pub(super) enum Step {
    /// The command is rejected.
    Reject(RegistryError),
    /// The lease is kept alive. Nothing is written, unless this server does not know that the lease was renewed within
    /// its TTL before: then this is stored too.
    Renew(Box<Stored>),
    /// The endpoint is as the command requires already: a health report that reports nothing new.
    Keep(Arc<ServiceEndpoint>),
    /// Instances are removed: the one that is deregistered, or the first ones of very many that are
    /// displaced.
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
    /// Whether it has a new lease in etcd.
    has_new_lease: bool,
    /// The instance of the id, as it was.
    old: Option<Record>,
    displaced: Vec<Record>,
    /// Whether the lease that it keeps is renewed too: the heartbeat of an instance that was kept although its lease ended.
    pub(super) renews: bool,
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
        let mut fence = self.fence(replica, command);
        if let Some(successor) = concerned.successor {
            let id = &successor.endpoint.id;
            fence = fence.if_unchanged(&self.keys.endpoint(id), replica.written(id));
        }
        let step = match decide(command, &concerned, self.terms) {
            Err(error) => Step::Reject(error),
            Ok(Decision::Remove) => {
                Step::Remove(replica.record(&command.id()).cloned().into_iter().collect())
            }
            Ok(Decision::Put(put)) => self.store(replica, command, put),
        };
        for record in step.displaced() {
            let id = &record.endpoint.id;
            if *id != command.id() {
                fence = fence.if_unchanged(&self.keys.endpoint(id), record.written);
            }
        }
        Plan { fence, step }
    }

    /// What every decision on the command depends on.
    fn fence(&self, replica: &Replica, command: &Command) -> Transaction {
        let (id, since) = (command.id(), replica.position().map_or(0, |at| at.revision));
        let key = self.keys.endpoint(&id);
        let fence = Transaction::default()
            .if_unchanged(&key, replica.written(&id))
            .if_none_written_after(&self.keys.fenced(&id), since);
        let places: BTreeSet<_> =
            command.places().iter().map(|place| self.keys.at(place)).collect();
        places.iter().fold(fence, |fence, place| fence.if_none_written_after(place, since))
    }

    /// Servers that commit at the same time may exceed a limit together, because none sees what the others are about to store.
    fn check_limits(&self, replica: &Replica, put: &Put) -> Result<(), RegistryError> {
        let origin = self.terms.origin;
        self.limits.check_put(put, origin.source(), replica.counts())?;
        self.limits.check_registrant(put, origin, |registrant| replica.registered_by(registrant))
    }

    fn store(&self, replica: &Replica, command: &Command, mut put: Put) -> Step {
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
            if command.renews_lease() {
                let (owner, old) = (old.owner.clone(), Some(old.clone()));
                let (written, has_new_lease, displaced) = (Written::Renewed, false, Vec::new());
                let stored =
                    Stored { put, owner, written, has_new_lease, old, displaced, renews: false };
                return Step::Renew(Box::new(stored));
            }
            if put.endpoint == *old.endpoint {
                return Step::Keep(Arc::clone(&old.endpoint));
            }
        }
        let displaced = put.displaced.iter().filter_map(|id| replica.record(id).cloned());
        let mut displaced: Vec<_> = displaced.collect();
        if let Err(error) = self.check_limits(replica, &put) {
            return Step::Reject(error);
        }
        if displaced.len() > DISPLACED {
            displaced.truncate(DISPLACED);
            return Step::Remove(displaced);
        }
        let owner = put.owner.clone().or_else(|| old.as_ref().map(|old| old.owner.clone()));
        let owner = owner.unwrap_or_else(|| Owner::new(self.terms.origin));
        let written = Written::new(put.effect, command.renews_lease() && !returns);
        // Each registration that changes something has a lease of its own, so that a heartbeat of the one before does
        // not renew it.
        let has_new_lease = written.is_registration();
        let renews = returns && !has_new_lease;
        Step::Store(Box::new(Stored { put, owner, written, has_new_lease, old, displaced, renews }))
    }

    /// Adds the removal of instances to a transaction.
    pub(super) fn remove(&self, fence: Transaction, removed: &[Record]) -> Transaction {
        if removed.is_empty() {
            return fence;
        }
        let ids: Vec<_> = removed.iter().map(|record| &record.endpoint.id).collect();
        let value = serde_json::to_vec(&ids).expect("ids can always be written as JSON");
        let fence = fence.put(self.keys.deregistered(), value, None);
        ids.iter().fold(fence, |fence, id| fence.delete(self.keys.endpoint(id)))
    }

    /// Adds everything that storing an endpoint writes to a transaction.
    pub(super) fn write(
        &self,
        fence: Transaction,
        stored: &Stored,
        lease: EtcdLease,
    ) -> Transaction {
        let Stored { put, owner, written, has_new_lease, old, displaced, .. } = stored;
        let endpoint = &put.endpoint;
        let server = match old {
            Some(old) if !written.is_registration() => old.server,
            _ => self.server,
        };
        let ttl = stored.lease_ttl();
        let value = Value::new(endpoint.clone(), owner, *written, server, ttl);
        let value = value.kept(stored.kept()).encode();
        let mut transaction =
            self.remove(fence, displaced).put(self.keys.endpoint(&endpoint.id), value, Some(lease));
        if *has_new_lease {
            for key in index(self.keys, endpoint, owner) {
                transaction = transaction.put(key, Vec::new(), Some(lease));
            }
        }
        transaction
    }
}

// === impl Step ===

impl Step {
    fn displaced(&self) -> &[Record] {
        match self {
            Self::Remove(removed) => removed,
            Self::Store(stored) => &stored.displaced,
            Self::Reject(_) | Self::Renew(_) | Self::Keep(_) => &[],
        }
    }
}

// === impl Stored ===

impl Stored {
    /// The lease that the endpoint keeps; `None` if it needs a new one.
    pub(super) fn kept_lease(&self) -> Option<EtcdLease> {
        self.old.as_ref().filter(|_| !self.has_new_lease).map(|old| old.lease)
    }

    /// Until when the instance is kept although its lease ended: a health report changes nothing about that.
    fn kept(&self) -> Option<KeptValue> {
        let old = self.old.as_ref().filter(|_| !self.renews && !self.written.is_registration());
        old?.kept.as_ref().map(KeptValue::reported)
    }

    pub(super) fn lease_ttl(&self) -> i64 {
        match &self.old {
            Some(old) if !self.has_new_lease => old.lease_ttl,
            _ => lease_ttl(&self.put.endpoint),
        }
    }

    pub(super) fn endpoint(&self) -> &ServiceEndpoint {
        &self.put.endpoint
    }

    /// The leases that are no longer needed once it is stored.
    pub(super) fn ended(&self) -> Vec<EtcdLease> {
        let old = self.old.iter().filter(|_| self.has_new_lease);
        self.displaced.iter().chain(old).map(|record| record.lease).collect()
    }

    /// The outcome of the command, once it is stored at this revision of etcd.
    pub(super) fn outcome(
        self,
        command: &Command,
        etcd: i64,
        mut displaced: Vec<(Arc<ServiceEndpoint>, Revision)>,
    ) -> CommandOutcome {
        let Self { put, old, .. } = self;
        let mut endpoint = put.endpoint;
        if put.effect != Effect::Renewed {
            endpoint.revision = revision(etcd, LAST);
        }
        let moved_from = old.filter(|_| put.effect == Effect::Moved).map(|old| old.endpoint);
        displaced.extend(removals(&self.displaced, etcd));
        outcome(command, Arc::new(endpoint), put.effect, moved_from, displaced)
    }
}

/// The keys under which a registration is found by its places, and by the ids that its owner has fenced.
pub(super) fn index(keys: &Keys, endpoint: &ServiceEndpoint, owner: &Owner) -> BTreeSet<String> {
    let id = &endpoint.id;
    let fenced = owner.fenced.iter().map(|(fenced, _)| fenced).filter(|fenced| *fenced != id);
    let places = Place::all(endpoint).map(|place| format!("{}{id}", keys.at(&place)));
    places.chain(fenced.map(|fenced| format!("{}{id}", keys.fenced(fenced)))).collect()
}

/// The instances that a transaction has removed, with the revisions of that.
pub(super) fn removals(
    removed: &[Record],
    etcd: i64,
) -> impl Iterator<Item = (Arc<ServiceEndpoint>, Revision)> {
    (0..)
        .zip(removed)
        .map(move |(change, record)| (Arc::clone(&record.endpoint), revision(etcd, change)))
}

/// The TTL of an endpoint's lease in etcd, in seconds.
pub(super) fn lease_ttl(endpoint: &ServiceEndpoint) -> i64 {
    let ttl = endpoint.ttl.duration();
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX - BACKSTOP) + BACKSTOP
}

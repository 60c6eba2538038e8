//! The replica: what the watch has delivered, the timers of leases, and the backlog of each feed.
//! Without I/O.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{ServiceEndpoint, ServiceId, Source};
use portolan_etcd::EtcdLease;
use tokio::sync::watch;
use tokio::time::Instant;

use super::keys::Keys;
use super::record::revision;
use crate::store::decide::{Concerned, Known};
use crate::store::index::Index;
use crate::store::mass_expiry::MassExpiry;
use crate::store::owner::{Owner, Registrant};
use crate::store::remote::{ClusterReplica, GRACE, KeptValue, LAST, OUTAGE, Outlets, Timers};
use crate::store::{Committed, Update};
use crate::{Command, LiveServers, Membership, ServerId};

mod apply;

/// How far the clocks of etcd and of this host may drift apart within a TTL.
const CLOCKS: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Replica {
    keys: Keys,
    own: ServerId,
    membership: Membership,
    servers: watch::Sender<LiveServers>,
    pub(super) records: HashMap<ServiceId, Record>,
    /// The revisions of endpoints' keys whose values this version cannot read.
    unreadable: HashMap<ServiceId, i64>,
    index_of: Index,
    pub(super) timers: Timers,
    pub(super) mass_expiry: MassExpiry,
    /// The number of instances that are kept because too many leases ended at once.
    kept: usize,
    position: Option<Position>,
    pub(super) outlets: Outlets,
    broadcast: usize,
}

/// How far the replica has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) cluster: u64,
    /// The revision of etcd up to which every event is applied.
    pub(super) revision: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) endpoint: Arc<ServiceEndpoint>,
    pub(super) owner: Owner,
    pub(super) lease: EtcdLease,
    pub(super) lease_ttl: i64,
    /// The revision of etcd that wrote it.
    pub(super) written: i64,
    pub(super) server: ServerId,
    /// Until when it is kept although its lease ended, and its health before.
    pub(super) kept: Option<KeptValue>,
    /// When this server last renewed the lease, or granted it: the lease has its full TTL since this moment or a later
    /// one. `None` if it did not.
    pub(super) renewed: Option<Instant>,
}

impl ClusterReplica for Replica {
    fn is_loaded(&self) -> bool {
        self.position.is_some()
    }

    fn outlets(&self) -> &Outlets {
        &self.outlets
    }
}

// === impl Replica ===

impl Replica {
    pub(super) fn new(
        keys: Keys,
        own: ServerId,
        membership: Membership,
        servers: watch::Sender<LiveServers>,
        mass_expiry: MassExpiry,
    ) -> Self {
        Self {
            keys,
            own,
            membership,
            servers,
            records: HashMap::new(),
            unreadable: HashMap::new(),
            index_of: Index::default(),
            timers: Timers::default(),
            mass_expiry,
            kept: 0,
            position: None,
            outlets: Outlets::new(),
            broadcast: 0,
        }
    }

    // --- reads

    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// The numbers of all endpoints and of those that were learned by broadcast.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.records.len(), self.broadcast)
    }

    /// The number of instances that a host registered.
    pub(super) fn registered_by(&self, registrant: &Registrant) -> usize {
        self.index_of.registered_by(registrant)
    }

    /// The number of instances that are kept because too many leases ended at once.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    pub(super) fn record(&self, id: &ServiceId) -> Option<&Record> {
        self.records.get(id)
    }

    /// The revision of etcd at which the endpoint's key was written; 0 if there is none.
    pub(super) fn written(&self, id: &ServiceId) -> i64 {
        let unreadable = || self.unreadable.get(id).copied();
        self.records.get(id).map(|record| record.written).or_else(unreadable).unwrap_or(0)
    }

    pub(super) fn concerned(&self, command: &Command) -> Concerned<'_> {
        self.index_of.concerned(command, |id| self.records.get(id).map(Record::known))
    }

    // --- leases

    /// Whether an instance whose lease this server ends has sent it no heartbeat for half of its TTL.
    pub(super) fn is_heartbeat_late(&self, id: &ServiceId) -> bool {
        let Some(Record { endpoint, kept, .. }) = self.records.get(id) else { return false };
        let is_late = kept.is_some() || self.timers.is_half_over(id, endpoint.ttl);
        is_late && endpoint.source == Source::Registered
    }

    /// Whether this server knows that the TTL has not passed since the lease was renewed, so that no server can have
    /// found that it has.
    pub(super) fn is_renewed_in_time(&self, lease: EtcdLease, id: &ServiceId) -> bool {
        let record = self.records.get(id).filter(|record| record.lease == lease);
        let known = record.and_then(|record| Some((record.renewed?, record.endpoint.ttl)));
        known.is_some_and(|(renewed, ttl)| renewed.elapsed() + CLOCKS < ttl.duration())
    }

    /// The lease was renewed, or granted, after this moment.
    pub(super) fn set_renewed(&mut self, lease: EtcdLease, id: &ServiceId, after: Instant) {
        let record = self.records.get_mut(id).filter(|record| record.lease == lease);
        if let Some(record) = record {
            record.renewed = record.renewed.max(Some(after));
        }
    }

    /// Stores a heartbeat, which has renewed the lease after this moment. Returns whether the registration is still the
    /// one with this lease.
    pub(super) fn renew(
        &mut self,
        lease: EtcdLease,
        endpoint: &ServiceEndpoint,
        after: Instant,
    ) -> bool {
        self.set_renewed(lease, &endpoint.id, after);
        let Some(record) = self.records.get_mut(&endpoint.id) else { return false };
        if record.lease != lease {
            return false;
        }
        let mut renewed = ServiceEndpoint::clone(&record.endpoint);
        renewed.last_heartbeat = endpoint.last_heartbeat;
        record.endpoint = Arc::new(renewed);
        let endpoint = Arc::clone(&record.endpoint);
        self.timers.set(&endpoint.id, endpoint.ttl.duration() + GRACE);
        self.outlets.emit(&Committed::Renewed(endpoint));
        true
    }

    fn set_servers(&mut self, servers: LiveServers) {
        self.servers.send_if_modified(|live| {
            let is_changed = *live != servers;
            *live = servers;
            is_changed
        });
        self.adopt();
    }

    /// Takes over the leases of servers that are gone. Their endpoints get their full TTL.
    fn adopt(&mut self) {
        let servers = self.servers.borrow().clone();
        let is_own = |record: &Record| record.server == self.own;
        let is_orphan = |record: &&Record| {
            !is_own(record)
                && !servers.contains_key(&record.server)
                && self.membership.owns(&record.endpoint.id)
        };
        let adopted = self.records.values().filter(|record| is_own(record) || is_orphan(record));
        for record in adopted {
            if !self.timers.contains(&record.endpoint.id) {
                let ttl = record.endpoint.ttl.duration();
                self.timers.set(&record.endpoint.id, ttl + GRACE);
            }
        }
    }

    /// Gives all leases that this server ends their full TTL.
    pub(super) fn extend_leases(&mut self) {
        for id in self.timers.ids() {
            let Some(record) = self.records.get(&id) else { continue };
            self.timers.set(&id, record.endpoint.ttl.duration() + GRACE);
        }
    }

    /// The watch works again. After an outage, in which services could not renew their leases, they are extended.
    pub(super) fn resume(&mut self) {
        if self.outlets.resume().is_some_and(|lost| lost > OUTAGE) {
            self.extend_leases();
        }
    }

    // --- feeds

    pub(super) fn take_update(&mut self, feed: u64) -> Option<Result<Update, String>> {
        let Self { records, position, outlets, .. } = self;
        outlets.take(feed, position.is_some(), || {
            let endpoints = records.values().map(|record| Arc::clone(&record.endpoint)).collect();
            (endpoints, revision(position.map_or(0, |at| at.revision), LAST))
        })
    }
}

// === impl Record ===

impl Record {
    pub(super) fn known(&self) -> Known<'_> {
        Known { endpoint: &self.endpoint, owner: &self.owner }
    }
}

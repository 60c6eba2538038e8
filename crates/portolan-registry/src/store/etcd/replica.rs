//! The replica: what the watch has delivered, the timers of leases, and the backlog of each feed.
//! Without I/O.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{ServiceEndpoint, ServiceId};
use portolan_etcd::EtcdLease;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::keys::Keys;
use super::record::{KeptValue, revision};
use crate::store::decide::{Concerned, Known};
use crate::store::index::Index;
use crate::store::mass_expiry::MassExpiry;
use crate::store::owner::Owner;
use crate::store::remote::{FeedQueue, LAST, Taken, Timers};
use crate::store::{Committed, Update};
use crate::{Command, Membership, ServerId};

mod apply;

/// How long a lease lasts after its timer fired: heartbeats that arrived in time may wait beside it.
const GRACE: Duration = Duration::from_millis(100);
/// How far the clocks of etcd and of this host may drift apart within a TTL.
const CLOCKS: Duration = Duration::from_millis(20);
/// How long the watch may be lost, or this process stopped, before leases get their full TTL again, because
/// services could not renew them.
pub(super) const OUTAGE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Replica {
    keys: Keys,
    own: ServerId,
    membership: Membership,
    servers: watch::Sender<BTreeSet<ServerId>>,
    pub(super) records: HashMap<ServiceId, Record>,
    /// The revisions of endpoints' keys whose values this version cannot read.
    unreadable: HashMap<ServiceId, i64>,
    index_of: Index,
    pub(super) timers: Timers,
    pub(super) mass_expiry: MassExpiry,
    /// The number of instances that are kept because too many leases ended at once.
    kept: usize,
    position: Option<Position>,
    /// Since when the watch is lost, and why; `None` while it works.
    lost: Option<Lost>,
    /// The number of entries that were emitted.
    index: u64,
    feeds: HashMap<u64, FeedQueue>,
    next_feed: u64,
    broadcast: usize,
}

/// How far the replica has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) cluster: u64,
    /// The revision of etcd up to which every event is applied.
    pub(super) revision: i64,
}

/// The loss of the watch.
#[derive(Debug)]
struct Lost {
    since: Instant,
    reason: String,
    /// Whether the feeds know of it.
    is_told: bool,
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

// === impl Replica ===

impl Replica {
    pub(super) fn new(
        keys: Keys,
        own: ServerId,
        membership: Membership,
        servers: watch::Sender<BTreeSet<ServerId>>,
        mass_expiry: MassExpiry,
    ) -> Self {
        let (since, reason) = (Instant::now(), "not connected yet".to_owned());
        let lost = Some(Lost { since, reason, is_told: false });
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
            lost,
            index: 0,
            feeds: HashMap::new(),
            next_feed: 0,
            broadcast: 0,
        }
    }

    // --- reads

    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Why the watch is lost; `None` while it works.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_ref().map(|lost| lost.reason.as_str())
    }

    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// The numbers of all endpoints and of those that were learned by broadcast.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.records.len(), self.broadcast)
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
        self.emit(&Committed::Renewed(endpoint));
        true
    }

    fn set_servers(&mut self, servers: BTreeSet<ServerId>) {
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
                && !servers.contains(&record.server)
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

    // --- the state of the watch

    pub(super) fn lose(&mut self, reason: &str) {
        let new = || Lost { since: Instant::now(), reason: String::new(), is_told: false };
        let lost = self.lost.get_or_insert_with(new);
        reason.clone_into(&mut lost.reason);
        if !std::mem::replace(&mut lost.is_told, true) {
            self.feeds.values_mut().for_each(|queue| queue.lose(reason));
        }
    }

    pub(super) fn resume(&mut self) {
        let Some(lost) = self.lost.take() else { return };
        if lost.since.elapsed() > OUTAGE {
            self.extend_leases();
        }
        self.feeds.values_mut().for_each(FeedQueue::resume);
    }

    // --- feeds

    pub(super) fn open_feed(&mut self) -> (u64, Arc<Notify>) {
        let (id, notify) = (self.next_feed, Arc::new(Notify::new()));
        self.next_feed += 1;
        self.feeds.insert(id, FeedQueue::new(Arc::clone(&notify)));
        (id, notify)
    }

    pub(super) fn close_feed(&mut self, id: u64) {
        self.feeds.remove(&id);
    }

    /// Takes the next update of a feed, or why the watch is lost.
    pub(super) fn take_update(&mut self, id: u64) -> Option<Result<Update, String>> {
        let position = self.position;
        let (committed, left) = match self.feeds.get_mut(&id)?.take(position.is_some())? {
            Taken::Lost(reason) => return Some(Err(reason)),
            Taken::Entries { entries, left } => (entries, left),
            Taken::Reset => {
                let endpoints = self.records.values().map(|record| Arc::clone(&record.endpoint));
                let revision = revision(position?.revision, LAST);
                let endpoints = endpoints.collect();
                (vec![Committed::Reset { endpoints, revision, history: None }], 0)
            }
        };
        let index = self.index - u64::try_from(left).unwrap_or(u64::MAX);
        Some(Ok(Update { committed, index }))
    }

    fn emit(&mut self, entry: &Committed) {
        self.index += 1;
        self.feeds.values_mut().for_each(|queue| queue.backlog.push(entry.clone()));
    }
}

// === impl Record ===

impl Record {
    pub(super) fn known(&self) -> Known<'_> {
        Known { endpoint: &self.endpoint, owner: &self.owner }
    }
}

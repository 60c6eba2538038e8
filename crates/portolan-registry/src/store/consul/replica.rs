//! The replica: what Consul's keys say, the timers of leases, and the backlog of each feed. Without I/O.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use portolan_consul::{KvList, KvTransaction};
use portolan_core::{Revision, ServiceEndpoint, ServiceId, Source};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::keys::{Guard, Keys};
use super::log::{Floor, Gap, Log, News};
use crate::store::decide::{Concerned, Known};
use crate::store::index::Index;
use crate::store::mass_expiry::MassExpiry;
use crate::store::owner::{Owner, Registrant};
use crate::store::remote::{
    ClusterReplica, GRACE, KeptValue, OUTAGE, Outlets, ServerValue, Timers,
};
use crate::store::{Committed, Update};
use crate::{Command, LiveServers, Membership, ServerId};

mod apply;

#[derive(Debug)]
pub(super) struct Replica {
    keys: Keys,
    own: ServerId,
    membership: Membership,
    servers: watch::Sender<LiveServers>,
    /// What each live server tells.
    live: BTreeMap<ServerId, ServerValue>,
    pub(super) records: HashMap<ServiceId, Record>,
    /// The indexes of endpoints' keys whose values this version cannot read.
    unreadable: HashMap<ServiceId, u64>,
    guards: HashMap<Guard, u64>,
    log: Log,
    index_of: Index,
    pub(super) timers: Timers,
    pub(super) mass_expiry: MassExpiry,
    /// The number of instances that are kept because too many leases ended at once.
    kept: usize,
    /// The endpoints whose removal is on its way, or may be, and the indexes of their keys.
    ending: HashMap<ServiceId, u64>,
    /// The index up to which every change is applied; `None` before the state is loaded.
    position: Option<u64>,
    /// The revision of the newest change.
    revision: Revision,
    /// When Consul has answered last.
    contact: Instant,
    pub(super) outlets: Outlets,
    broadcast: usize,
    /// The instances that have changed, or are held since, or no longer.
    touched: HashSet<ServiceId>,
    touch: Arc<Notify>,
}

#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) endpoint: Arc<ServiceEndpoint>,
    pub(super) owner: Owner,
    /// The index of the write of its key.
    pub(super) written: u64,
    /// The server that holds its lease.
    pub(super) server: ServerId,
    /// Until when it is kept although its lease ended, and its health before.
    pub(super) kept: Option<KeptValue>,
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
            live: BTreeMap::new(),
            records: HashMap::new(),
            unreadable: HashMap::new(),
            guards: HashMap::new(),
            log: Log::default(),
            index_of: Index::default(),
            timers: Timers::default(),
            mass_expiry,
            kept: 0,
            ending: HashMap::new(),
            position: None,
            revision: Revision::default(),
            contact: Instant::now(),
            outlets: Outlets::new(),
            broadcast: 0,
            touched: HashSet::new(),
            touch: Arc::default(),
        }
    }

    // --- reads

    pub(super) fn position(&self) -> Option<u64> {
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

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The index at which the endpoint's key was written; 0 if there is none.
    pub(super) fn written(&self, id: &ServiceId) -> u64 {
        let unreadable = || self.unreadable.get(id).copied();
        self.records.get(id).map(|record| record.written).or_else(unreadable).unwrap_or(0)
    }

    /// The index at which a guard was written; 0 if it never was.
    pub(super) fn guarded(&self, guard: Guard) -> u64 {
        self.guards.get(&guard).copied().unwrap_or(0)
    }

    pub(super) fn concerned(&self, command: &Command) -> Concerned<'_> {
        self.index_of.concerned(command, |id| self.records.get(id).map(Record::known))
    }

    // --- servers

    pub(super) fn is_live(&self, server: ServerId) -> bool {
        self.live.contains_key(&server)
    }

    /// Whether a task that one server does is this server's.
    pub(super) fn owns(&self, task: &ServiceId) -> bool {
        self.membership.owns(task)
    }

    /// The server that ends the lease of an endpoint: the one that holds it, or if that is gone, one of the others.
    pub(super) fn holds(&self, record: &Record) -> bool {
        // What is registered in Consul has no lease.
        record.endpoint.source != Source::Consul
            && (record.server == self.own
                || (!self.is_live(record.server) && self.membership.owns(&record.endpoint.id)))
    }

    /// The node at whose agent the endpoint is to be registered; `None` if its server is gone, and another one is to
    /// take its place.
    pub(super) fn node_of(&self, record: &Record) -> Option<&str> {
        let server = if self.holds(record) { self.own } else { record.server };
        self.live.get(&server).map(|server| server.node.as_deref().unwrap_or_default())
    }

    fn set_servers(&mut self, live: BTreeMap<ServerId, ServerValue>) {
        let advertised = |value: &ServerValue| value.url.as_deref().map(Into::into);
        let servers: LiveServers =
            live.iter().map(|(server, value)| (*server, advertised(value))).collect();
        self.live = live;
        let is_changed = self.servers.send_if_modified(|live| {
            let is_changed = *live != servers;
            *live = servers;
            is_changed
        });
        if is_changed {
            self.assign_all();
        }
    }

    /// Takes over the leases of servers that are gone, with their full TTL, and leaves those of servers that are back.
    fn assign_all(&mut self) {
        let is_wrong =
            |record: &&Record| self.holds(record) != self.timers.contains(&record.endpoint.id);
        let wrong: Vec<_> = self.records.values().filter(is_wrong).cloned().collect();
        for record in wrong {
            let id = &record.endpoint.id;
            if self.holds(&record) {
                self.timers.set(id, record.endpoint.ttl.duration() + GRACE);
            } else {
                self.timers.cancel(id);
            }
            self.touched.insert(id.clone());
        }
        self.touch.notify_one();
    }

    // --- leases

    /// Whether an instance whose lease this server ends has sent it no heartbeat for half of its TTL.
    pub(super) fn is_heartbeat_late(&self, id: &ServiceId) -> bool {
        let Some(Record { endpoint, kept, .. }) = self.records.get(id) else { return false };
        let is_late = kept.is_some() || self.timers.is_half_over(id, endpoint.ttl);
        is_late && endpoint.source == Source::Registered
    }

    /// Stores a heartbeat. Returns whether the registration is still the one that was written at this index.
    pub(super) fn renew(&mut self, written: u64, endpoint: &ServiceEndpoint) -> bool {
        let Some(record) = self.records.get_mut(&endpoint.id) else { return false };
        let is_ending = self.ending.contains_key(&endpoint.id) || record.kept.is_some();
        if record.written != written || record.server != self.own || is_ending {
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

    /// Begins to end a lease whose timer has fired. Until it is known that the endpoint was not removed, a heartbeat
    /// writes its key, so that a removal that is on its way fails. Returns `None` if a heartbeat was faster.
    pub(super) fn begin_end(&mut self, id: &ServiceId) -> Option<Record> {
        let record = self.records.get(id).filter(|_| !self.timers.contains(id))?;
        self.ending.insert(id.clone(), record.written);
        Some(record.clone())
    }

    /// The endpoint was not removed, and will not be.
    pub(super) fn cancel_end(&mut self, record: &Record) {
        if self.is_ending(record) {
            self.ending.remove(&record.endpoint.id);
        }
    }

    pub(super) fn is_ending(&self, record: &Record) -> bool {
        self.ending.get(&record.endpoint.id) == Some(&record.written)
    }

    /// Gives all leases that this server holds their full TTL.
    pub(super) fn extend_leases(&mut self) {
        for id in self.timers.ids() {
            let Some(record) = self.records.get(&id) else { continue };
            self.timers.set(&id, record.endpoint.ttl.duration() + GRACE);
        }
    }

    /// Consul has answered. After an outage, in which services could not renew their leases, they are extended before
    /// anything else.
    pub(super) fn touch_contact(&mut self) {
        if self.contact.elapsed() > OUTAGE {
            self.extend_leases();
        }
        self.contact = Instant::now();
        self.outlets.resume();
    }

    /// Whether Consul has answered lately, so that a lease may end.
    pub(super) fn is_in_contact(&self) -> bool {
        self.contact.elapsed() <= OUTAGE && self.outlets.lost().is_none()
    }

    // --- changes

    /// The index from which the next list of changes is waited for.
    pub(super) fn log_index(&self) -> u64 {
        self.log.index()
    }

    /// Takes a list of the changes; an error if the state must be loaded again.
    pub(super) fn read(&mut self, list: &KvList) -> Result<News, Gap> {
        self.log.read(&self.keys, list, self.position.ok_or(Gap)?)
    }

    /// The transaction that deletes old changes, if this server is the one that does it and there are any.
    pub(super) fn clean_up(&self, deleted: Floor) -> Option<(KvTransaction, u64)> {
        let task: ServiceId = "portolan-clean-up".parse().expect("its characters are permitted");
        self.owns(&task).then(|| self.log.clean_up(&self.keys, deleted))?
    }

    // --- what the publisher follows

    pub(super) fn touched(&self) -> Arc<Notify> {
        Arc::clone(&self.touch)
    }

    pub(super) fn take_touched(&mut self) -> HashSet<ServiceId> {
        std::mem::take(&mut self.touched)
    }

    // --- feeds

    pub(super) fn take_update(&mut self, feed: u64) -> Option<Result<Update, String>> {
        let Self { records, position, revision, outlets, .. } = self;
        outlets.take(feed, position.is_some(), || {
            let endpoints = records.values().map(|record| Arc::clone(&record.endpoint)).collect();
            (endpoints, *revision)
        })
    }
}

// === impl Record ===

impl Record {
    pub(super) fn known(&self) -> Known<'_> {
        Known { endpoint: &self.endpoint, owner: &self.owner }
    }
}

#[cfg(test)]
mod tests;

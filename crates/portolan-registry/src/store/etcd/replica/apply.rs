//! What the watch delivers: the whole state, and the events of each revision.

use std::collections::BTreeSet;
use std::sync::Arc;

use portolan_core::{Change, Revision, ServiceEndpoint, ServiceEvent, ServiceId, Source};
use portolan_etcd::{EtcdEvent, EtcdLease, KeyValue};
use tracing::warn;

use super::{GRACE, Position, Record, Replica};
use crate::LiveServers;
use crate::store::Committed;
use crate::store::etcd::keys::Watched;
use crate::store::etcd::record::{Value, revision};
use crate::store::index::Index;
use crate::store::owner::Place;
use crate::store::remote::{LAST, ServerValue, Written};

impl Replica {
    /// Replaces everything by what was read at a position.
    pub(in crate::store::etcd) fn load(&mut self, keys: &[KeyValue], at: Position) {
        let former = std::mem::take(&mut self.records);
        self.unreadable.clear();
        self.index_of = Index::default();
        (self.broadcast, self.kept) = (0, 0);
        let mut servers = LiveServers::new();
        let mut endpoints = Vec::new();
        for kv in keys {
            match self.keys.parse(&kv.key) {
                Watched::Endpoint(id) => endpoints.push((kv, id)),
                Watched::Server(server) => _ = servers.insert(server, advertised(kv)),
                Watched::Deregistered | Watched::Other => {}
            }
        }
        // In the order of the writes, so that the newest successor of an id is the last one.
        endpoints.sort_unstable_by_key(|(kv, _)| kv.mod_revision);
        for (kv, id) in endpoints {
            if let Some((mut record, _)) = self.read(kv, &id) {
                let known = former.get(&id).filter(|known| known.lease == record.lease);
                record.renewed = known.and_then(|known| known.renewed);
                self.store(record);
            }
        }
        for id in self.timers.ids() {
            if !self.records.contains_key(&id) {
                self.timers.cancel(&id);
            }
        }
        self.position = Some(at);
        self.outlets.reset();
        self.set_servers(servers);
    }

    /// Applies the events of complete revisions, up to this one.
    pub(in crate::store::etcd) fn apply(&mut self, events: &[EtcdEvent], until: i64) {
        for events in events.chunk_by(|a, b| written(a) == written(b)) {
            self.apply_revision(events);
        }
        if let Some(position) = &mut self.position {
            position.revision = position.revision.max(until);
        }
    }

    /// Applies the events of one revision.
    fn apply_revision(&mut self, events: &[EtcdEvent]) {
        let etcd = events.first().map_or(0, written);
        let deregistered = self.deregistered_by(events);
        let (mut change, mut servers) = (0, None);
        for event in events {
            let kv = event.key_value();
            let is_put = matches!(event, EtcdEvent::Put(_));
            match self.keys.parse(&kv.key) {
                Watched::Endpoint(id) if is_put => self.put(kv, &id, etcd, &mut change),
                Watched::Endpoint(id) => {
                    let expired = !deregistered.contains(&id);
                    self.remove(&id, expired, revision(etcd, change));
                    change += 1;
                }
                Watched::Server(server) => {
                    let servers = servers.get_or_insert_with(|| self.servers.borrow().clone());
                    if is_put {
                        servers.insert(server, advertised(kv));
                    } else {
                        servers.remove(&server);
                    }
                }
                Watched::Deregistered | Watched::Other => {}
            }
        }
        if change >= LAST {
            // Keys that something else deleted all at once: there are not so many revisions.
            self.outlets.reset();
        }
        if let Some(servers) = servers {
            self.set_servers(servers);
        }
    }

    /// The ids that the transaction of these events deregistered. All others that it deleted have expired.
    fn deregistered_by(&self, events: &[EtcdEvent]) -> BTreeSet<ServiceId> {
        let marker = events.iter().find_map(|event| match event {
            EtcdEvent::Put(kv) if self.keys.parse(&kv.key) == Watched::Deregistered => Some(kv),
            _ => None,
        });
        marker.and_then(|kv| serde_json::from_slice(&kv.value).ok()).unwrap_or_default()
    }

    fn put(&mut self, kv: &KeyValue, id: &ServiceId, etcd: i64, change: &mut u64) {
        let Some((record, written)) = self.read(kv, id) else { return };
        let known = self.records.get(id).map(|old| Arc::clone(&old.endpoint));
        let (server, endpoint) = (record.server, Arc::clone(&record.endpoint));
        if written == Written::Moved && known.is_some() {
            self.remove(id, false, revision(etcd, *change));
            *change += 1;
        }
        self.store(record);
        if written.is_registration() {
            if server == self.own {
                self.timers.set(id, endpoint.ttl.duration() + GRACE);
            } else {
                self.timers.cancel(id);
            }
        }
        match written {
            Written::Updated if known.is_some() => self.change(Change::Updated { endpoint }),
            Written::Health if known.is_some() => self.change(Change::Health { endpoint }),
            Written::Renewed | Written::Reason if known.is_some() => {
                self.outlets.emit(&Committed::Renewed(endpoint));
            }
            _ => self.change(Change::Registered { endpoint }),
        }
    }

    /// Reads an endpoint's key. What cannot be read counts as no endpoint, and can be overwritten.
    fn read(&mut self, kv: &KeyValue, id: &ServiceId) -> Option<(Record, Written)> {
        let value = Value::decode(&kv.value, kv.mod_revision);
        let value = value.ok().filter(|value| value.endpoint.id == *id);
        let Some(mut value) = value else {
            warn!(service_id = %id, revision = kv.mod_revision, "Key in etcd not readable, ignored");
            self.remove(id, false, revision(kv.mod_revision, 0));
            self.unreadable.insert(id.clone(), kv.mod_revision);
            return None;
        };
        let (owner, server, written) = (value.owner(), value.server(), value.change);
        let kept = value.kept.take();
        let mut endpoint = value.endpoint;
        let (lease, mut renewed) = (EtcdLease(kv.lease), None);
        if let Some(known) = self.records.get(id) {
            // Heartbeats that this server received are not in the value.
            endpoint.last_heartbeat = endpoint.last_heartbeat.max(known.endpoint.last_heartbeat);
            renewed = known.renewed.filter(|_| known.lease == lease);
        }
        let record = Record {
            endpoint: Arc::new(endpoint),
            owner,
            lease,
            lease_ttl: value.lease_ttl,
            written: kv.mod_revision,
            server,
            kept,
            renewed,
        };
        Some((record, written))
    }

    fn store(&mut self, record: Record) {
        let id = record.endpoint.id.clone();
        self.unreadable.remove(&id);
        self.broadcast += usize::from(record.endpoint.source == Source::Broadcast);
        self.kept += usize::from(record.kept.is_some());
        let old = self.records.get(&id);
        self.kept -= usize::from(old.is_some_and(|old| old.kept.is_some()));
        self.broadcast -=
            usize::from(old.is_some_and(|old| old.endpoint.source == Source::Broadcast));
        if !old.is_some_and(|old| old.is_indexed_like(&record)) {
            if let Some(old) = old {
                self.index_of.remove(&old.endpoint, &old.owner);
            }
            self.index_of.insert(&record.endpoint, &record.owner);
        }
        self.records.insert(id, record);
    }

    fn remove(&mut self, id: &ServiceId, expired: bool, revision: Revision) {
        self.unreadable.remove(id);
        self.timers.cancel(id);
        let Some(Record { endpoint, owner, kept, .. }) = self.records.remove(id) else { return };
        self.kept -= usize::from(kept.is_some());
        self.index_of.remove(&endpoint, &owner);
        self.broadcast -= usize::from(endpoint.source == Source::Broadcast);
        let change =
            if expired { Change::Expired { endpoint } } else { Change::Deregistered { endpoint } };
        self.outlets.emit(&Committed::Changed(Arc::new(ServiceEvent { revision, change })));
    }

    fn change(&mut self, change: Change) {
        let revision = change.endpoint().map_or(Revision::default(), |endpoint| endpoint.revision);
        self.outlets.emit(&Committed::Changed(Arc::new(ServiceEvent { revision, change })));
    }
}

impl Record {
    /// Whether both have the same entries in the index.
    fn is_indexed_like(&self, other: &Self) -> bool {
        let places = |endpoint: &ServiceEndpoint| Place::all(endpoint).collect::<Vec<_>>();
        places(&self.endpoint) == places(&other.endpoint) && self.owner.fenced == other.owner.fenced
    }
}

/// The revision of an event.
fn written(event: &EtcdEvent) -> i64 {
    event.key_value().mod_revision
}

/// The URL that a server advertises, from the value of its key.
fn advertised(server: &KeyValue) -> Option<Arc<str>> {
    ServerValue::decode(&server.value).url.map(Into::into)
}

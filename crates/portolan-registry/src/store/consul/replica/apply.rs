//! What Consul's keys deliver: the whole state, and the changes of each transaction.

use std::sync::Arc;

use portolan_consul::KvList;
use portolan_core::{Change, Revision, ServiceEndpoint, ServiceEvent, ServiceId, Source};
use tracing::warn;

use super::{Record, Replica};
use crate::store::Committed;
use crate::store::consul::keys::Kind;
use crate::store::consul::log::{NewChange, News};
use crate::store::consul::record::{ChangeValue, StoredValue, Value};
use crate::store::index::Index;
use crate::store::owner::Place;
use crate::store::remote::{GRACE, Written, revision};

impl Replica {
    /// Replaces everything by a list of the whole state.
    pub(in crate::store::consul) fn load(&mut self, list: &KvList) {
        self.touched.extend(self.records.drain().map(|(id, _)| id));
        self.unreadable.clear();
        self.ending.clear();
        self.guards.clear();
        self.index_of = Index::default();
        (self.broadcast, self.kept) = (0, 0);
        let mut endpoints = Vec::new();
        for entry in &list.entries {
            match self.keys.parse(&entry.key) {
                Kind::Endpoint(id) => endpoints.push((entry, id)),
                Kind::Guard(guard) => _ = self.guards.insert(guard, entry.modify_index),
                Kind::Change | Kind::Floor | Kind::Server(_) | Kind::Settings | Kind::Other => {}
            }
        }
        // In the order of the writes, so that the newest successor of an id is the last one.
        endpoints.sort_unstable_by_key(|(entry, _)| entry.modify_index);
        for (entry, id) in endpoints {
            let value = entry.value().and_then(|value| Value::decode(&value).ok());
            match value.filter(|value| value.endpoint.id == id) {
                Some(value) => {
                    self.touched.insert(id);
                    let record =
                        self.record_of(value.written_at(entry.modify_index), entry.modify_index);
                    self.store(record);
                }
                None => {
                    warn!(service_id = %id, index = entry.modify_index, "Key in Consul not readable, ignored");
                    self.unreadable.insert(id, entry.modify_index);
                }
            }
        }
        for id in self.timers.ids() {
            if !self.records.contains_key(&id) {
                self.timers.cancel(&id);
            }
        }
        self.position = Some(list.index);
        self.outlets.reset();
        let (servers, newest) = self.log.load(&self.keys, list);
        let revisions = self.records.values().map(|record| record.endpoint.revision);
        self.revision = revisions.fold(newest, Revision::max);
        self.set_servers(servers);
        self.assign_all();
    }

    /// Applies changes in order, then the servers that are live after them.
    pub(in crate::store::consul) fn apply(&mut self, news: News) {
        for change in news.changes {
            self.apply_change(change);
        }
        self.position = self.position.map(|position| position.max(news.index));
        self.set_servers(news.servers);
        self.touch.notify_one();
    }

    fn apply_change(&mut self, NewChange { index, value }: NewChange) {
        let ChangeValue { removed, stored, guards } = value;
        for guard in guards {
            self.guards.insert(guard, index);
        }
        let mut change = 0;
        for removed in removed {
            self.remove(&removed.id, removed.expired, revision(index, change));
            change += 1;
        }
        // References are resolved before.
        if let Some(StoredValue::Value(value)) = stored {
            self.put(value.written_at(index), index, change);
        }
    }

    fn put(&mut self, value: Value, index: u64, change: u64) {
        let written = value.change;
        let record = self.record_of(value, index);
        let (id, endpoint) = (record.endpoint.id.clone(), Arc::clone(&record.endpoint));
        let known = self.records.get(&id).map(|old| old.endpoint.source);
        let was_kept = self.records.get(&id).is_some_and(|old| old.kept.is_some());
        if written == Written::Moved && known.is_some() {
            self.remove(&id, false, revision(index, change));
        }
        let (holds, is_held) = (self.holds(&record), self.timers.contains(&id));
        let kept = record.kept.as_ref().map(|kept| kept.left().unwrap_or_default());
        let is_renewed = written.is_registration() || (was_kept && kept.is_none());
        self.store(record);
        if !holds {
            self.timers.cancel(&id);
        } else if is_renewed || !is_held {
            self.timers.set(&id, kept.unwrap_or(endpoint.ttl.duration() + GRACE));
        }
        self.touched.insert(id);
        match written {
            Written::Updated if known.is_some() => self.change(Change::Updated { endpoint }),
            Written::Health if known.is_some() => self.change(Change::Health { endpoint }),
            Written::Renewed | Written::Reason if known.is_some() => {
                self.outlets.emit(&Committed::Renewed(endpoint));
            }
            _ => self.change(Change::Registered { endpoint }),
        }
    }

    fn record_of(&self, value: Value, written: u64) -> Record {
        let server = value.server();
        let Value { mut endpoint, owner, kept, .. } = value;
        if let Some(known) = self.records.get(&endpoint.id) {
            // Heartbeats that this server received are not in the value.
            endpoint.last_heartbeat = endpoint.last_heartbeat.max(known.endpoint.last_heartbeat);
        }
        Record { endpoint: Arc::new(endpoint), owner, written, server, kept }
    }

    fn store(&mut self, record: Record) {
        let id = record.endpoint.id.clone();
        self.unreadable.remove(&id);
        self.ending.remove(&id);
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
        self.ending.remove(id);
        self.timers.cancel(id);
        let Some(Record { endpoint, owner, kept, .. }) = self.records.remove(id) else { return };
        self.kept -= usize::from(kept.is_some());
        self.touched.insert(id.clone());
        self.index_of.remove(&endpoint, &owner);
        self.broadcast -= usize::from(endpoint.source == Source::Broadcast);
        let change =
            if expired { Change::Expired { endpoint } } else { Change::Deregistered { endpoint } };
        self.emit(revision, change);
    }

    fn change(&mut self, change: Change) {
        let revision = change.endpoint().map_or(Revision::default(), |endpoint| endpoint.revision);
        self.emit(revision, change);
    }

    fn emit(&mut self, revision: Revision, change: Change) {
        self.revision = revision;
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

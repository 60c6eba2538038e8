//! The changes that Consul's keys list, and whether they follow those that are known. Without I/O.
//!
//! Consul keeps no history of a key. So each transaction writes a key of its own that says what it has changed; servers
//! read these keys in the order of their indexes, and delete them once they are old. The floor says which ones are
//! gone: a server that has not read them reads the whole state again.

use std::collections::BTreeMap;
use std::time::Duration;

use portolan_consul::{KvEntry, KvList, KvTransaction};
use portolan_core::Revision;
use tokio::time::Instant;

use super::keys::{Keys, Kind};
use super::record::{ChangeValue, StoredValue};
use crate::ServerId;
use crate::store::remote::{LAST, ServerValue, revision};

/// How many changes are kept, and how long: a server that is slower than that gets the whole state again.
const KEPT: usize = 512;
const KEPT_FOR: Duration = Duration::from_secs(30);
/// How many changes are deleted at once: a transaction has 64 operations, one of which writes the floor.
const DELETED: usize = KvTransaction::LIMIT - 1;

/// The changes that are known and not deleted yet.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// By the index of the write.
    known: BTreeMap<u64, KnownChange>,
    floor: Floor,
    /// The index of the list that was read last.
    index: u64,
}

#[derive(Debug)]
struct KnownChange {
    key: String,
    since: Instant,
}

/// The index of the newest change that was deleted, and that of the write which says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Floor {
    pub(super) value: u64,
    pub(super) written: u64,
}

/// What a list has that is new.
#[derive(Debug)]
pub(super) struct News {
    pub(super) changes: Vec<NewChange>,
    pub(super) servers: BTreeMap<ServerId, ServerValue>,
    pub(super) index: u64,
}

/// A change that is new.
#[derive(Debug)]
pub(super) struct NewChange {
    /// The index of its transaction.
    pub(super) index: u64,
    pub(super) value: ChangeValue,
}

/// The changes do not follow those that are known: some were deleted before they were read, or Consul was restored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gap;

// === impl Log ===

impl Log {
    /// Takes a list of the whole state. Returns the live servers, and the revision of the newest change.
    pub(super) fn load(
        &mut self,
        keys: &Keys,
        list: &KvList,
    ) -> (BTreeMap<ServerId, ServerValue>, Revision) {
        *self = Self::default();
        let (mut servers, mut newest) = (BTreeMap::new(), Revision::default());
        for entry in &list.entries {
            match keys.parse(&entry.key) {
                Kind::Change => {
                    self.add(entry);
                    newest = newest.max(newest_of(entry));
                }
                Kind::Floor => self.floor = Floor::read(entry),
                Kind::Server(server) => _ = servers.insert(server, server_value(entry)),
                Kind::Endpoint(_) | Kind::Guard(_) | Kind::Settings | Kind::Other => continue,
            }
            self.index = self.index.max(entry.modify_index);
        }
        if self.floor.value > 0 {
            newest = newest.max(revision(self.floor.value, LAST));
        }
        (servers, newest)
    }

    /// The index from which the next list is waited for.
    pub(super) fn index(&self) -> u64 {
        self.index.max(1)
    }

    /// Takes a list of the changes, if they follow those up to `position`.
    pub(super) fn read(&mut self, keys: &Keys, list: &KvList, position: u64) -> Result<News, Gap> {
        let (mut floor, mut servers, mut new) = (Floor::default(), BTreeMap::new(), Vec::new());
        let mut found = 0;
        for entry in &list.entries {
            match keys.parse(&entry.key) {
                Kind::Change if entry.modify_index > position => new.push(entry),
                Kind::Change => {
                    let known = self.known.get(&entry.modify_index);
                    if known.is_none_or(|known| known.key != entry.key) {
                        return Err(Gap);
                    }
                    found += 1;
                }
                Kind::Floor => floor = Floor::read(entry),
                Kind::Server(server) => _ = servers.insert(server, server_value(entry)),
                Kind::Endpoint(_) | Kind::Guard(_) | Kind::Settings | Kind::Other => {}
            }
        }
        let kept = self.known.range(floor.value + 1..).count();
        if list.index < self.index || floor.value > position || kept != found {
            return Err(Gap);
        }
        new.sort_unstable_by_key(|entry| entry.modify_index);
        let mut changes = Vec::with_capacity(new.len());
        for entry in &new {
            let value = entry.value().ok_or(Gap)?;
            let value = serde_json::from_slice(&value).map_err(|_| Gap)?;
            changes.push(NewChange { index: entry.modify_index, value });
        }
        self.known = self.known.split_off(&(floor.value + 1));
        new.into_iter().for_each(|entry| self.add(entry));
        (self.floor, self.index) = (floor, list.index);
        Ok(News { changes, servers, index: list.index })
    }

    /// The transaction that deletes the oldest changes beyond those that this server has deleted, and the floor that it
    /// writes; `None` if none is to be deleted.
    pub(super) fn clean_up(&self, keys: &Keys, deleted: Floor) -> Option<(KvTransaction, u64)> {
        let floor = self.floor.max(deleted);
        let left = || self.known.range(floor.value + 1..);
        let beyond = left().count().saturating_sub(KEPT);
        let is_old = |known: &KnownChange| known.since.elapsed() > KEPT_FOR;
        let old = left().take(DELETED).take_while(|(_, known)| is_old(known)).count();
        // In batches, so that a deletion is rare beside the writes.
        let count = if beyond >= DELETED { DELETED } else { old };
        let (value, _) = left().take(count).last()?;
        let text = value.to_string().into_bytes();
        let write = KvTransaction::default().write_if(&keys.floor(), &text, floor.written);
        let delete = |transaction: KvTransaction, (index, known): (&u64, &KnownChange)| {
            transaction.delete_if(&known.key, *index)
        };
        Some((left().take(count).fold(write, delete), *value))
    }

    fn add(&mut self, entry: &KvEntry) {
        let known = KnownChange { key: entry.key.clone(), since: Instant::now() };
        self.known.insert(entry.modify_index, known);
    }
}

// === impl NewChange ===

impl NewChange {
    /// The id of the endpoint whose value is too long to stand in the change.
    pub(super) fn refers_to(&self) -> Option<&portolan_core::ServiceId> {
        match &self.value.stored {
            Some(StoredValue::At(id)) => Some(id),
            _ => None,
        }
    }
}

// === impl Floor ===

impl Floor {
    fn read(entry: &KvEntry) -> Self {
        Self { value: Self::parse(entry).unwrap_or(0), written: entry.modify_index }
    }

    pub(super) fn parse(entry: &KvEntry) -> Option<u64> {
        let value = String::from_utf8(entry.value()?).ok()?.parse().ok();
        // The changes after it are counted from the next index.
        value.filter(|value| *value < u64::MAX)
    }
}

/// The revision of the last change that a transaction has made; 0 if it has made none.
fn newest_of(entry: &KvEntry) -> Revision {
    let value = entry.value().and_then(|value| serde_json::from_slice(&value).ok());
    let Some(ChangeValue { removed, stored, .. }) = value else {
        return revision(entry.modify_index, LAST);
    };
    let is_change = stored.is_some_and(|stored| match stored {
        StoredValue::Value(value) => value.change.has_revision(),
        StoredValue::At(_) => true,
    });
    match (is_change, u64::try_from(removed.len()).unwrap_or(LAST)) {
        (true, _) => revision(entry.modify_index, LAST),
        (false, 0) => Revision::default(),
        (false, removed) => revision(entry.modify_index, removed - 1),
    }
}

fn server_value(entry: &KvEntry) -> ServerValue {
    entry.value().map(|value| ServerValue::decode(&value)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("p")
    }

    /// A list as Consul answers it, of these changes, with this floor.
    fn list(index: u64, changes: &[(u64, &str)], floor: u64) -> KvList {
        let entry = |key: String, value: &str, index: u64| -> KvEntry {
            let json = serde_json::json!({ "Key": key, "Value": value, "ModifyIndex": index });
            serde_json::from_value(json).unwrap()
        };
        // "e30=" is {}.
        let changes = changes.iter();
        let mut entries: Vec<_> = changes
            .map(|(index, name)| entry(format!("p/v1/feed/changes/{name}"), "e30=", *index))
            .collect();
        if floor > 0 {
            let digits = floor.to_string();
            assert_eq!(digits.len(), 1, "one digit is easy to encode");
            let encoded = ["MA==", "MQ==", "Mg==", "Mw==", "NA==", "NQ==", "Ng==", "Nw=="];
            entries.push(entry(keys().floor(), encoded[floor as usize], index));
        }
        KvList { index, entries }
    }

    #[test]
    fn changes_are_read_once_and_in_the_order_of_their_indexes() {
        let mut log = Log::default();
        log.load(&keys(), &list(3, &[(3, "a")], 0));
        let news = log.read(&keys(), &list(7, &[(7, "b"), (5, "c"), (3, "a")], 0), 3).unwrap();
        let read: Vec<_> = news.changes.iter().map(|change| change.index).collect();
        assert_eq!((read, news.index), (vec![5, 7], 7));
        let again = log.read(&keys(), &list(7, &[(7, "b"), (5, "c"), (3, "a")], 0), 7).unwrap();
        assert!(again.changes.is_empty());
        // Those that were read may be deleted.
        log.read(&keys(), &list(9, &[(7, "b")], 5), 7).unwrap();
    }

    #[test]
    fn changes_that_are_not_continuous_are_a_gap() {
        let known = [(3, "a"), (5, "b")];
        for (restored, position) in [
            // One was deleted that was not read.
            (list(9, &[(9, "d")], 7), 5),
            // One that was known is gone, or is another one: another history.
            (list(9, &[(3, "a"), (9, "d")], 0), 5),
            (list(9, &[(3, "a"), (5, "x")], 0), 5),
            (list(9, &[(3, "a"), (4, "x"), (5, "b")], 0), 5),
            // Everything is older than before.
            (list(3, &[(3, "a")], 0), 5),
        ] {
            let mut log = Log::default();
            log.load(&keys(), &list(5, &known, 0));
            assert_eq!(log.read(&keys(), &restored, position).map(|_| ()), Err(Gap));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn old_changes_are_deleted() {
        let mut log = Log::default();
        log.load(&keys(), &list(5, &[(3, "a"), (5, "b")], 0));
        let none = Floor::default();
        assert!(log.clean_up(&keys(), none).is_none());
        tokio::time::advance(KEPT_FOR + Duration::from_secs(1)).await;
        let (transaction, floor) = log.clean_up(&keys(), none).unwrap();
        assert_eq!((transaction.len(), floor), (3, 5));
        assert!(log.clean_up(&keys(), Floor { value: 5, written: 9 }).is_none());
        let many: Vec<_> = (1..=700).map(|index| (index, "x")).collect();
        log.load(&keys(), &list(700, &many, 0));
        let (transaction, floor) = log.clean_up(&keys(), none).unwrap();
        assert_eq!((transaction.len(), floor), (KvTransaction::LIMIT, 63));
        // The next ones are deleted before the list shows that these are.
        let deleted = Floor { value: floor, written: 701 };
        assert_eq!(log.clean_up(&keys(), deleted).unwrap().1, 126);
    }
}

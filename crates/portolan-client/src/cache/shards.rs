//! The entries in shards, each an immutable map that a change replaces: readers take no lock, and a change copies one shard.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use portolan_core::ServiceName;

use super::entry::Entry;

/// About how many entries a change copies.
const ENTRIES_PER_SHARD: usize = 16;
const MAX_SHARDS: usize = 256;

/// At most a number of entries by service name. Changes must not be concurrent.
pub(super) struct Shards {
    shards: Box<[ArcSwap<Shard>]>,
    count: AtomicUsize,
    max_entries: usize,
}

type Shard = HashMap<ServiceName, Arc<Entry>, foldhash::fast::RandomState>;

// === impl Shards ===

impl Shards {
    pub(super) fn new(max_entries: usize) -> Self {
        let wanted = (max_entries / ENTRIES_PER_SHARD).clamp(1, MAX_SHARDS);
        let shards = (0..wanted.next_power_of_two()).map(|_| ArcSwap::default()).collect();
        Self { shards, count: AtomicUsize::new(0), max_entries }
    }

    pub(super) fn read<T>(
        &self,
        name: &str,
        use_entry: impl FnOnce(&Arc<Entry>) -> T,
    ) -> Option<T> {
        let shard = self.shards[self.shard_of(name)].load();
        let entry = shard.get(name)?;
        entry.mark_used();
        Some(use_entry(entry))
    }

    /// Adds or replaces an entry. If there are too many, one that was not read for the longest time gives way to a new one.
    pub(super) fn insert(&self, name: &ServiceName, entry: Arc<Entry>) {
        let index = self.shard_of(name.as_str());
        let mut shard = Shard::clone(&self.shards[index].load());
        let is_new = shard.insert(name.clone(), entry).is_none();
        self.shards[index].store(Arc::new(shard));
        if is_new && self.count.fetch_add(1, Ordering::Relaxed) >= self.max_entries {
            self.evict_one(index, name);
        }
    }

    pub(super) fn remove(&self, name: &ServiceName) {
        let slot = &self.shards[self.shard_of(name.as_str())];
        let mut shard = Shard::clone(&slot.load());
        if shard.remove(name).is_some() {
            slot.store(Arc::new(shard));
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn names(&self) -> Vec<ServiceName> {
        let names = |slot: &ArcSwap<Shard>| slot.load().keys().cloned().collect::<Vec<_>>();
        self.shards.iter().flat_map(names).collect()
    }

    /// Removes one entry but the new one, of its shard if there is another: one that was not read since the last eviction in
    /// the shard, or else any.
    fn evict_one(&self, nearest: usize, new: &ServiceName) {
        let count = self.shards.len();
        let other = |step: usize| {
            let shard = self.shards[(nearest + step) % count].load();
            let others = || shard.iter().filter(|(name, _)| *name != new);
            let unused = others().find(|(_, entry)| !entry.take_used());
            unused.or_else(|| others().next()).map(|(name, _)| name.clone())
        };
        if let Some(name) = (0..count).find_map(other) {
            self.remove(&name);
        }
    }

    /// Returns the index of the shard: by the last bytes, in which names differ the most.
    fn shard_of(&self, name: &str) -> usize {
        let last = match name.as_bytes().last_chunk() {
            Some(last) => u64::from_be_bytes(*last),
            None => name.bytes().fold(0, |all, byte| all << 8 | u64::from(byte)),
        };
        // The multiplier of Knuth's multiplicative hash for 64 bits.
        let mixed = last.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(mixed).unwrap_or_default() & (self.shards.len() - 1)
    }
}

#[cfg(test)]
mod tests;

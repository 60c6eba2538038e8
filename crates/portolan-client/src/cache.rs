//! The cache of resolutions: fresh until the TTL ends, then stale and kept as a fallback.

mod entry;
mod shards;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::ServiceName;
use portolan_metrics::Metrics;
use tokio::time::Instant;

use crate::chain::Resolution;
use crate::config::CacheConfig;
use crate::locality::Locality;

pub(crate) use entry::Entry;
use shards::Shards;

/// Resolutions by service name. Readers take no lock.
pub(crate) struct Cache {
    ttl: Duration,
    entries: Shards,
    metrics: Metrics,
    locality: Arc<Locality>,
    /// Serialises writers, which read an entry before they replace it.
    changing: Mutex<()>,
}

/// What an update does with an entry.
#[derive(Debug)]
pub(crate) enum CacheAction {
    /// Leaves it unchanged.
    Keep,
    /// Replaces the resolution and keeps the TTL; an empty resolution removes the entry.
    Replace(Resolution),
    /// Ends the TTL; the entry stays as a fallback.
    MarkStale,
    /// Removes it, because it is wrong.
    Remove,
}

// === impl Cache ===

impl Cache {
    /// Creates a cache whose hits prefer the nearest instances in this locality.
    pub(crate) fn new(config: &CacheConfig, metrics: Metrics, locality: Arc<Locality>) -> Self {
        let entries = Shards::new(config.max_entries);
        Self { ttl: config.ttl, entries, metrics, locality, changing: Mutex::default() }
    }

    /// Calls the function with the entry, fresh or stale. It runs without a lock, and nothing is shared with other readers but the
    /// entry.
    pub(crate) fn read<T>(&self, name: &str, use_entry: impl FnOnce(&Entry) -> T) -> Option<T> {
        self.entries.read(name, |entry| use_entry(entry))
    }

    /// Returns the entry, fresh or stale. If all instances are requested, an incomplete entry does
    /// not count.
    pub(crate) fn get(&self, name: &ServiceName, all: bool) -> Option<Arc<Entry>> {
        let entry = self.entries.read(name.as_str(), Arc::clone);
        entry.filter(|entry| entry.resolution.complete || !all)
    }

    pub(crate) fn insert(&self, name: &ServiceName, resolution: Arc<Resolution>) {
        let _changing = self.changing.lock();
        let hits = self.metrics.hit_counter(name.as_str());
        let entry =
            Entry::new(resolution, Instant::now() + self.ttl, hits, Arc::clone(&self.locality));
        self.entries.insert(name, Arc::new(entry));
    }

    /// Decides on an action for the entry of the service, if there is one, and executes it.
    pub(crate) fn update(&self, name: &ServiceName, action: impl FnOnce(&Entry) -> CacheAction) {
        let _changing = self.changing.lock();
        let Some(entry) = self.entries.read(name.as_str(), Arc::clone) else { return };
        let changed = match action(&entry) {
            CacheAction::Keep => return,
            CacheAction::Replace(resolution) if !resolution.candidates.is_empty() => {
                entry.with_resolution(resolution)
            }
            CacheAction::MarkStale => entry.until(Instant::now()),
            CacheAction::Replace(_) | CacheAction::Remove => return self.entries.remove(name),
        };
        self.entries.insert(name, Arc::new(changed));
    }

    /// Returns the names of the cached services.
    pub(crate) fn names(&self) -> Vec<ServiceName> {
        self.entries.names()
    }
}

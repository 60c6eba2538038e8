//! The cache of resolutions: fresh until the TTL ends, then stale and kept as a fallback.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::ServiceName;
use tokio::time::Instant;

use crate::chain::Resolution;
use crate::config::CacheConfig;

/// Resolutions by service name. Readers do not block.
pub(crate) struct Cache {
    ttl: Duration,
    entries: quick_cache::sync::Cache<ServiceName, Arc<Entry>>,
    /// Serialises writers, which read an entry before they replace it.
    changing: Mutex<()>,
}

/// The cache entry of one service.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The resolution, never empty.
    pub(crate) resolution: Arc<Resolution>,
    /// When the entry becomes stale.
    pub(crate) fresh_until: Instant,
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
    pub(crate) fn new(config: &CacheConfig) -> Self {
        let entries = quick_cache::sync::Cache::new(config.max_entries);
        Self { ttl: config.ttl, entries, changing: Mutex::default() }
    }

    /// Returns the entry, fresh or stale. If all instances are requested, an incomplete entry does
    /// not count.
    pub(crate) fn get(&self, name: &ServiceName, all: bool) -> Option<Arc<Entry>> {
        self.entries.get(name).filter(|entry| entry.resolution.complete || !all)
    }

    pub(crate) fn insert(&self, name: ServiceName, resolution: Arc<Resolution>) {
        let _changing = self.changing.lock();
        let fresh_until = Instant::now() + self.ttl;
        self.entries.insert(name, Arc::new(Entry { resolution, fresh_until }));
    }

    /// Decides on an action for the entry of the service, if there is one, and executes it.
    pub(crate) fn update(&self, name: &ServiceName, action: impl FnOnce(&Entry) -> CacheAction) {
        let _changing = self.changing.lock();
        let Some(entry) = self.entries.peek(name) else { return };
        let changed = match action(&entry) {
            CacheAction::Keep => return,
            CacheAction::Replace(resolution) if !resolution.candidates.is_empty() => {
                Entry { resolution: Arc::new(resolution), fresh_until: entry.fresh_until }
            }
            CacheAction::MarkStale => Entry { fresh_until: Instant::now(), ..(*entry).clone() },
            CacheAction::Replace(_) | CacheAction::Remove => {
                self.entries.remove(name);
                return;
            }
        };
        // An entry that was evicted meanwhile is not inserted again.
        drop(self.entries.replace(name.clone(), Arc::new(changed), true));
    }

    /// Returns the names of the cached services.
    pub(crate) fn names(&self) -> Vec<ServiceName> {
        self.entries.iter().map(|(name, _)| name).collect()
    }
}

// === impl Entry ===

impl Entry {
    pub(crate) fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }
}

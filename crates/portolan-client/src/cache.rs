//! Keeps what was found: fresh for a while, and stale after it for the day when nobody answers.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::ServiceName;
use tokio::time::Instant;

use crate::chain::Resolution;
use crate::config::CacheConfig;

/// What is known of services by name. Readers never wait.
pub(crate) struct Cache {
    ttl: Duration,
    entries: quick_cache::sync::Cache<ServiceName, Arc<Entry>>,
    /// Held by those who change an entry that they have read.
    changing: Mutex<()>,
}

/// What is known of one service.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// What was found, never empty.
    pub(crate) found: Arc<Resolution>,
    /// Until when it is believed.
    pub(crate) fresh_until: Instant,
}

/// What becomes of an entry.
#[derive(Debug)]
pub(crate) enum CacheAction {
    /// It stays as it is.
    Keep,
    /// It says something else now, for as long as it would have lasted.
    Change(Resolution),
    /// It is no longer believed, and kept for the day when nobody answers.
    Stale,
    /// It is known to be wrong.
    Remove,
}

// === impl Cache ===

impl Cache {
    pub(crate) fn new(config: &CacheConfig) -> Self {
        let entries = quick_cache::sync::Cache::new(config.max_entries);
        Self { ttl: config.ttl, entries, changing: Mutex::default() }
    }

    /// What is known, whether it is fresh or not. Where all instances are requested, what is known to
    /// be only some of them does not count.
    pub(crate) fn get(&self, name: &ServiceName, all: bool) -> Option<Arc<Entry>> {
        self.entries.get(name).filter(|entry| entry.found.complete || !all)
    }

    pub(crate) fn insert(&self, name: ServiceName, found: Arc<Resolution>) {
        let _changing = self.changing.lock();
        let fresh_until = Instant::now() + self.ttl;
        self.entries.insert(name, Arc::new(Entry { found, fresh_until }));
    }

    /// Applies the action that `action` decides to the entry of the service, if there is one.
    pub(crate) fn update(&self, name: &ServiceName, action: impl FnOnce(&Entry) -> CacheAction) {
        let _changing = self.changing.lock();
        let Some(entry) = self.entries.peek(name) else { return };
        let changed = match action(&entry) {
            CacheAction::Keep => return,
            CacheAction::Change(found) if !found.candidates.is_empty() => {
                Entry { found: Arc::new(found), fresh_until: entry.fresh_until }
            }
            CacheAction::Stale => Entry { fresh_until: Instant::now(), ..(*entry).clone() },
            CacheAction::Change(_) | CacheAction::Remove => {
                self.entries.remove(name);
                return;
            }
        };
        // An entry that was pushed out meanwhile stays out.
        drop(self.entries.replace(name.clone(), Arc::new(changed), true));
    }

    /// The services of which anything is known.
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

//! The cache entry of one service, with what a hit needs worked out beforehand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portolan_metrics::HitCounter;
use tokio::time::Instant;

use crate::chain::Resolution;
use crate::locality::Locality;
use crate::select::Best;

/// The cache entry of one service.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The resolution, never empty.
    pub(crate) resolution: Arc<Resolution>,
    /// The answers, if no instance is suspect.
    pub(crate) best: Best,
    /// Counts the hits.
    pub(crate) hits: HitCounter,
    /// When the entry becomes stale.
    fresh_until: Instant,
    locality: Arc<Locality>,
    /// Whether it was read since the cache last looked for an entry to evict.
    is_used: AtomicBool,
}

// === impl Entry ===

impl Entry {
    /// Creates an entry whose best candidates are the nearest in this locality.
    pub(crate) fn new(
        resolution: Arc<Resolution>,
        fresh_until: Instant,
        hits: HitCounter,
        locality: Arc<Locality>,
    ) -> Self {
        let best = Best::of(&resolution, &locality);
        Self { resolution, best, hits, fresh_until, locality, is_used: AtomicBool::new(false) }
    }

    /// Returns the entry with another resolution and the same TTL.
    pub(crate) fn with_resolution(&self, resolution: Resolution) -> Self {
        self.changed(Arc::new(resolution), self.fresh_until)
    }

    /// Returns the entry with another end of the TTL.
    pub(crate) fn until(&self, fresh_until: Instant) -> Self {
        self.changed(Arc::clone(&self.resolution), fresh_until)
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh_at(Instant::now())
    }

    pub(crate) fn is_fresh_at(&self, now: Instant) -> bool {
        now < self.fresh_until
    }

    /// Notes that the entry was read. It is written once, so that readers do not contend for it.
    pub(super) fn mark_used(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether it was read since the last call.
    pub(super) fn take_used(&self) -> bool {
        self.is_used.swap(false, Ordering::Relaxed)
    }

    fn changed(&self, resolution: Arc<Resolution>, fresh_until: Instant) -> Self {
        let is_used = self.is_used.load(Ordering::Relaxed);
        let entry =
            Self::new(resolution, fresh_until, self.hits.clone(), Arc::clone(&self.locality));
        Self { is_used: AtomicBool::new(is_used), ..entry }
    }
}

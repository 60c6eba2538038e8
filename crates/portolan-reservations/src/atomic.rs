//! Abstracts [`AtomicU64`], so that the same protocol runs on shared memory and under loom.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The operations of an atomic word that the table needs (std::sync::atomic).
pub(crate) trait AtomicWord {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    /// Acquires and releases on success, acquires on failure.
    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64>;
    /// Adds, acquires and releases, and returns the sum; wraps around.
    fn add(&self, value: u64) -> u64;
    fn fence(order: Ordering);
}

impl AtomicWord for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        self.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
    }

    fn add(&self, value: u64) -> u64 {
        self.fetch_add(value, Ordering::AcqRel).wrapping_add(value)
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

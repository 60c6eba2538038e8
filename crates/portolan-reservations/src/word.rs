//! A number that several threads or processes change, as far as the table needs it: so that the
//! same steps run on the real table and under a model checker.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// An atomic number (std::sync::atomic).
pub(crate) trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    /// Acquires and releases where it succeeds, and acquires where it fails.
    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64>;
    /// Wraps around, and orders nothing else.
    fn add(&self, value: u64);
    /// Wraps around, and orders nothing else.
    fn subtract(&self, value: u64);
    fn fence(order: Ordering);
}

impl Word for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        self.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
    }

    fn add(&self, value: u64) {
        self.fetch_add(value, Ordering::Relaxed);
    }

    fn subtract(&self, value: u64) {
        self.fetch_sub(value, Ordering::Relaxed);
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

//! Single-flight: concurrent lookups with equal keys share one future.
//!
//! The shared future has no task of its own. Its waiters poll it, and it is dropped with its last
//! waiter.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

use crate::attempt::AttemptLog;
use crate::chain::{LookupKey, Resolution};

/// The lookups that are in flight.
#[derive(Default)]
pub(crate) struct SingleFlight {
    table: Arc<Mutex<Table>>,
}

/// A lookup in flight; clones wait for the same result.
#[derive(Clone)]
pub(crate) struct SharedLookup {
    /// The attempts so far.
    pub(crate) log: Arc<AttemptLog>,
    /// The result.
    pub(crate) result: Shared<LookupFuture>,
}

type LookupFuture = BoxFuture<'static, Option<Arc<Resolution>>>;

#[derive(Default)]
struct Table {
    in_flight: HashMap<LookupKey, InFlight>,
    last: u64,
}

struct InFlight {
    number: u64,
    log: Arc<AttemptLog>,
    result: WeakShared<LookupFuture>,
}

/// Removes a lookup from the table when its future completes or is dropped.
struct RemoveOnDrop {
    table: Weak<Mutex<Table>>,
    key: LookupKey,
    number: u64,
}

// === impl SingleFlight ===

impl SingleFlight {
    /// Joins the lookup with this key, or starts a new one.
    pub(crate) fn join<F>(
        &self,
        key: &LookupKey,
        start: impl FnOnce() -> (Arc<AttemptLog>, F),
    ) -> SharedLookup
    where
        F: Future<Output = Option<Arc<Resolution>>> + Send + 'static,
    {
        let mut table = self.table.lock();
        if let Some(lookup) = table.in_flight.get(key).and_then(InFlight::join) {
            return lookup;
        }
        table.last += 1;
        let number = table.last;
        let (table_of, key) = (Arc::downgrade(&self.table), key.clone());
        let remove_on_drop = RemoveOnDrop { table: table_of, key: key.clone(), number };
        let (log, lookup) = start();
        let result = async move {
            let _remove_on_drop = remove_on_drop;
            lookup.await
        };
        let result = result.boxed().shared();
        if let Some(weak) = result.downgrade() {
            let log = Arc::clone(&log);
            table.in_flight.insert(key, InFlight { number, log, result: weak });
        }
        SharedLookup { log, result }
    }
}

// === impl InFlight ===

impl InFlight {
    fn join(&self) -> Option<SharedLookup> {
        let result = self.result.upgrade()?;
        Some(SharedLookup { log: Arc::clone(&self.log), result })
    }
}

// === impl RemoveOnDrop ===

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else { return };
        let mut table = table.lock();
        // A newer lookup with the same key stays.
        if table.in_flight.get(&self.key).is_some_and(|lookup| lookup.number == self.number) {
            table.in_flight.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;

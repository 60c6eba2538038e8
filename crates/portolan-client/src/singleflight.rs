//! Those who look for the same thing at the same time share one answer.
//!
//! A flight has no task of its own: whoever waits for it drives it, and when nobody waits any
//! more it is gone.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

use crate::attempt::AttemptLog;
use crate::chain::{LookupKey, Resolution};

/// The discoveries that are under way.
#[derive(Default)]
pub(crate) struct SingleFlight {
    table: Arc<Mutex<Table>>,
}

/// One discovery under way; clones wait for the same.
#[derive(Clone)]
pub(crate) struct SharedLookup {
    /// What was tried so far.
    pub(crate) record: Arc<AttemptLog>,
    /// What is found at the end.
    pub(crate) result: Shared<LookupFuture>,
}

type LookupFuture = BoxFuture<'static, Option<Arc<Resolution>>>;

#[derive(Default)]
struct Table {
    singleflight: HashMap<LookupKey, InFlight>,
    last: u64,
}

struct InFlight {
    number: u64,
    record: Arc<AttemptLog>,
    result: WeakShared<LookupFuture>,
}

/// Takes a flight out of the table when it ends, however it ends.
struct RemoveOnDrop {
    table: Weak<Mutex<Table>>,
    key: LookupKey,
    number: u64,
}

// === impl SingleFlight ===

impl SingleFlight {
    /// The flight that looks for this already, or a new one.
    pub(crate) fn join<F>(
        &self,
        key: &LookupKey,
        start: impl FnOnce() -> (Arc<AttemptLog>, F),
    ) -> SharedLookup
    where
        F: Future<Output = Option<Arc<Resolution>>> + Send + 'static,
    {
        let mut table = self.table.lock();
        if let Some(flight) = table.singleflight.get(key).and_then(InFlight::joined) {
            return flight;
        }
        table.last += 1;
        let number = table.last;
        let (table_of, key) = (Arc::downgrade(&self.table), key.clone());
        let departure = RemoveOnDrop { table: table_of, key: key.clone(), number };
        let (record, search) = start();
        let result = async move {
            let _departure = departure;
            search.await
        };
        let result = result.boxed().shared();
        if let Some(weak) = result.downgrade() {
            let record = Arc::clone(&record);
            table.singleflight.insert(key, InFlight { number, record, result: weak });
        }
        SharedLookup { record, result }
    }
}

// === impl InFlight ===

impl InFlight {
    fn joined(&self) -> Option<SharedLookup> {
        let result = self.result.upgrade()?;
        Some(SharedLookup { record: Arc::clone(&self.record), result })
    }
}

// === impl RemoveOnDrop ===

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else { return };
        let mut table = table.lock();
        // Another flight may have taken its place meanwhile.
        if table.singleflight.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            table.singleflight.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;

//! Those who look for the same thing at the same time share one answer.
//!
//! A flight has no task of its own: whoever waits for it drives it, and when nobody waits any
//! more it is gone.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

use crate::attempt::Record;
use crate::chain::{Found, Wanted};

/// The discoveries that are under way.
#[derive(Default)]
pub(crate) struct Flights {
    table: Arc<Mutex<Table>>,
}

/// One discovery under way; clones wait for the same.
#[derive(Clone)]
pub(crate) struct Flight {
    /// What was tried so far.
    pub(crate) record: Arc<Record>,
    /// What is found at the end.
    pub(crate) landing: Shared<Landing>,
}

type Landing = BoxFuture<'static, Option<Arc<Found>>>;

#[derive(Default)]
struct Table {
    flights: HashMap<Wanted, Airborne>,
    last: u64,
}

struct Airborne {
    number: u64,
    record: Arc<Record>,
    landing: WeakShared<Landing>,
}

/// Takes a flight out of the table when it ends, however it ends.
struct Departure {
    table: Weak<Mutex<Table>>,
    wanted: Wanted,
    number: u64,
}

// === impl Flights ===

impl Flights {
    /// The flight that looks for this already, or a new one.
    pub(crate) fn join<F>(
        &self,
        wanted: &Wanted,
        start: impl FnOnce() -> (Arc<Record>, F),
    ) -> Flight
    where
        F: Future<Output = Option<Arc<Found>>> + Send + 'static,
    {
        let mut table = self.table.lock();
        if let Some(flight) = table.flights.get(wanted).and_then(Airborne::joined) {
            return flight;
        }
        table.last += 1;
        let number = table.last;
        let (table_of, wanted) = (Arc::downgrade(&self.table), wanted.clone());
        let departure = Departure { table: table_of, wanted: wanted.clone(), number };
        let (record, search) = start();
        let landing = async move {
            let _departure = departure;
            search.await
        };
        let landing = landing.boxed().shared();
        if let Some(weak) = landing.downgrade() {
            let record = Arc::clone(&record);
            table.flights.insert(wanted, Airborne { number, record, landing: weak });
        }
        Flight { record, landing }
    }
}

// === impl Airborne ===

impl Airborne {
    fn joined(&self) -> Option<Flight> {
        let landing = self.landing.upgrade()?;
        Some(Flight { record: Arc::clone(&self.record), landing })
    }
}

// === impl Departure ===

impl Drop for Departure {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else { return };
        let mut table = table.lock();
        // Another flight may have taken its place meanwhile.
        if table.flights.get(&self.wanted).is_some_and(|flight| flight.number == self.number) {
            table.flights.remove(&self.wanted);
        }
    }
}

#[cfg(test)]
mod tests;

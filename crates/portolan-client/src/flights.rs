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
mod tests {
    use std::time::Duration;

    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    fn wanted(name: &str) -> Wanted {
        let overall = Duration::from_secs(10);
        Wanted { name: name.parse().unwrap(), all: false, retries: 0, overall, strategies: None }
    }

    fn record() -> Arc<Record> {
        Arc::new(Record::of(Vec::new()))
    }

    #[tokio::test]
    async fn those_who_want_the_same_share_a_flight_and_the_next_gets_a_new_one() {
        let flights = Flights::default();
        let started = Arc::new(AtomicUsize::new(0));
        let (land, landed) = oneshot::channel::<()>();
        let mut landed = Some(landed);
        let mut joined = Vec::new();
        for _ in 0..100 {
            joined.push(flights.join(&wanted("api"), || {
                started.fetch_add(1, Ordering::SeqCst);
                let landed = landed.take().unwrap();
                (record(), async move {
                    landed.await.unwrap();
                    None
                })
            }));
        }
        let other = flights.join(&wanted("db"), || (record(), async { None }));
        assert!(other.landing.await.is_none());
        land.send(()).unwrap();
        for flight in joined {
            assert!(flight.landing.await.is_none());
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
        assert!(flights.table.lock().flights.is_empty());
    }

    #[tokio::test]
    async fn a_flight_goes_on_while_anybody_waits_and_ends_when_nobody_does() {
        let flights = Flights::default();
        let (land, landed) = oneshot::channel::<()>();
        let first = flights.join(&wanted("api"), || {
            (record(), async move {
                landed.await.unwrap();
                None
            })
        });
        let second = flights.join(&wanted("api"), || -> (_, BoxFuture<'static, _>) {
            unreachable!("a second flight")
        });
        assert!(first.landing.clone().now_or_never().is_none());
        drop(first);
        land.send(()).unwrap();
        assert!(second.landing.await.is_none());

        let endless = flights.join(&wanted("api"), || (record(), std::future::pending()));
        assert!(endless.landing.clone().now_or_never().is_none());
        drop(endless);
        assert!(flights.table.lock().flights.is_empty());
    }
}

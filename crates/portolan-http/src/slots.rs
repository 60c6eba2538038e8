//! Which connections are open, and which of them is closed for a new one if there are too many: the one that has waited
//! longest for a request. A client that connects in order to send a request waits for moments only, so it is never that one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The connections of a listener. Bounded.
#[derive(Debug)]
pub(crate) struct Slots {
    limit: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: usize,
    next: u64,
    /// The connections that wait for a request, or for the rest of one.
    waiting: BTreeMap<Place, CancellationToken>,
}

/// Those that have never sent a whole request go first, then the idle ones, each in the order in which they began to wait.
type Place = (Waits, u64);

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Waits {
    /// Its first request: the handshake, the head and the body.
    First,
    /// The next request.
    Next,
}

/// The place of an open connection. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    place: Mutex<Option<Place>>,
    evicted: CancellationToken,
}

// === impl Slots ===

impl Slots {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, table: Mutex::default() }
    }

    /// Admits a connection, which waits for its first request. If there is no place for it, the one that has waited longest
    /// loses its own.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Arc<Slot>> {
        let mut table = self.table.lock();
        if table.open < self.limit {
            table.open += 1;
        } else {
            // Its place passes on to the new connection, so the number of open ones stays the same.
            let (_, longest) = table.waiting.pop_first()?;
            longest.cancel();
        }
        let evicted = CancellationToken::new();
        let place = Mutex::new(Some(table.enqueue(Waits::First, evicted.clone())));
        Some(Arc::new(Slot { slots: Arc::clone(self), place, evicted }))
    }
}

// === impl Table ===

impl Table {
    fn enqueue(&mut self, waits: Waits, evicted: CancellationToken) -> Place {
        let place = (waits, self.next);
        self.next += 1;
        self.waiting.insert(place, evicted);
        place
    }
}

// === impl Slot ===

impl Slot {
    /// The whole request has arrived: from now on the connection waits for the server.
    pub(crate) fn received(&self) {
        let mut table = self.slots.table.lock();
        if let Some(place) = self.place.lock().take() {
            table.waiting.remove(&place);
        }
    }

    /// The response is written: the connection waits for the next request.
    pub(crate) fn answered(&self) {
        let mut table = self.slots.table.lock();
        if self.evicted.is_cancelled() {
            return;
        }
        let mut place = self.place.lock();
        if let Some(former) = place.take() {
            table.waiting.remove(&former);
        }
        *place = Some(table.enqueue(Waits::Next, self.evicted.clone()));
    }

    /// Completes when another connection has the place.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// What the connection waits for; `None` while a request is handled.
    pub(crate) fn waits(&self) -> Option<Waits> {
        (*self.place.lock()).map(|(waits, _)| waits)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.slots.table.lock();
        if self.evicted.is_cancelled() {
            return;
        }
        table.open = table.open.saturating_sub(1);
        if let Some(place) = self.place.get_mut().take() {
            table.waiting.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_that_waited_longest_makes_room() {
        let slots = Arc::new(Slots::new(3));
        let [busy, first, second] = std::array::from_fn(|_| slots.admit().unwrap());
        busy.received();
        let third = slots.admit().unwrap();
        assert!(first.evicted.is_cancelled() && !second.evicted.is_cancelled());
        // An idle connection stays as long as there is one without any request.
        second.received();
        second.answered();
        let fourth = slots.admit().unwrap();
        assert!(third.evicted.is_cancelled() && !second.evicted.is_cancelled());
        fourth.received();
        let fifth = slots.admit().unwrap();
        assert!(second.evicted.is_cancelled());
        fifth.received();
        assert!(slots.admit().is_none(), "requests in progress are not given up");
        drop((first, third, fourth));
        assert!(slots.admit().is_some());
        drop((busy, second, fifth));
        assert_eq!(slots.table.lock().open, 0);
        assert!(slots.table.lock().waiting.is_empty());
    }
}

//! Which connections are open, and which of them is closed for a new one if there are too many: the one that has waited
//! longest for a request. A client that connects in order to send a request waits for moments only, so it is never that one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The connections of a listener. Bounded.
///
/// A request changes only its own slot. The queue is brought up to date when there is no place for a new connection, which is the
/// only time that it is read.
#[derive(Debug)]
pub(crate) struct Slots {
    limit: usize,
    /// The number of waits that have begun.
    begun: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: usize,
    /// The connections in the order in which they began to wait, as far as that is known. Those that waited for the server when they
    /// were looked at are not in it.
    queue: BTreeMap<Place, Arc<Wait>>,
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

/// The state of a connection.
#[derive(Debug)]
struct Wait {
    /// [`FIRST`], [`NEXT`] or [`BUSY`].
    state: AtomicU8,
    /// When it began to wait.
    since: AtomicU64,
    is_queued: AtomicBool,
    /// Its place in the queue. Changed under the lock of the table.
    place: Mutex<Option<Place>>,
    evicted: CancellationToken,
}

const FIRST: u8 = 0;
const NEXT: u8 = 1;
/// It waits for the server.
const BUSY: u8 = 2;

/// The place of an open connection. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    wait: Arc<Wait>,
}

// === impl Slots ===

impl Slots {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, begun: AtomicU64::new(0), table: Mutex::default() }
    }

    /// Admits a connection, which waits for its first request. If there is no place for it, the one that has waited longest
    /// loses its own.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Arc<Slot>> {
        let mut table = self.table.lock();
        if table.open < self.limit {
            table.open += 1;
        } else {
            // Its place passes on to the new connection, so the number of open ones stays the same.
            table.take_longest()?.evicted.cancel();
        }
        let since = self.begun.fetch_add(1, Ordering::Relaxed);
        let wait = Arc::new(Wait {
            state: AtomicU8::new(FIRST),
            since: AtomicU64::new(since),
            is_queued: AtomicBool::new(true),
            place: Mutex::default(),
            evicted: CancellationToken::new(),
        });
        table.enqueue((Waits::First, since), &wait);
        Some(Arc::new(Slot { slots: Arc::clone(self), wait }))
    }
}

// === impl Table ===

impl Table {
    fn enqueue(&mut self, place: Place, wait: &Arc<Wait>) {
        *wait.place.lock() = Some(place);
        self.queue.insert(place, Arc::clone(wait));
    }

    /// Removes the connection that has waited longest from the queue.
    fn take_longest(&mut self) -> Option<Arc<Wait>> {
        while let Some((place, wait)) = self.queue.pop_first() {
            *wait.place.lock() = None;
            // Before its state is read: from then on, it comes back by itself when it waits.
            wait.is_queued.store(false, Ordering::SeqCst);
            match wait.current() {
                Some(current) if current == place => return Some(wait),
                // It has sent a request since then, so others have waited longer.
                Some(current) => {
                    wait.is_queued.store(true, Ordering::SeqCst);
                    self.enqueue(current, &wait);
                }
                None => {}
            }
        }
        None
    }
}

// === impl Wait ===

impl Wait {
    /// The place that it has now; `None` while it waits for the server.
    fn current(&self) -> Option<Place> {
        let waits = match self.state.load(Ordering::SeqCst) {
            FIRST => Waits::First,
            NEXT => Waits::Next,
            _busy => return None,
        };
        Some((waits, self.since.load(Ordering::SeqCst)))
    }
}

// === impl Slot ===

impl Slot {
    /// The whole request has arrived: from now on the connection waits for the server.
    pub(crate) fn received(&self) {
        self.wait.state.store(BUSY, Ordering::SeqCst);
    }

    /// The response is written: the connection waits for the next request.
    pub(crate) fn answered(&self) {
        let Self { slots, wait } = self;
        let since = slots.begun.fetch_add(1, Ordering::Relaxed);
        wait.since.store(since, Ordering::SeqCst);
        wait.state.store(NEXT, Ordering::SeqCst);
        if wait.is_queued.load(Ordering::SeqCst) {
            return;
        }
        let mut table = slots.table.lock();
        if !wait.evicted.is_cancelled() && !wait.is_queued.swap(true, Ordering::SeqCst) {
            table.enqueue((Waits::Next, since), wait);
        }
    }

    /// Completes when another connection has the place.
    pub(crate) async fn evicted(&self) {
        self.wait.evicted.cancelled().await;
    }

    /// What the connection waits for; `None` while a request is handled.
    pub(crate) fn waits(&self) -> Option<Waits> {
        self.wait.current().map(|(waits, _)| waits)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.slots.table.lock();
        if self.wait.evicted.is_cancelled() {
            return;
        }
        table.open = table.open.saturating_sub(1);
        if let Some(place) = self.wait.place.lock().take() {
            table.queue.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_evicted(slot: &Slot) -> bool {
        slot.wait.evicted.is_cancelled()
    }

    #[test]
    fn connection_that_waited_longest_makes_room() {
        let slots = Arc::new(Slots::new(3));
        let [busy, first, second] = std::array::from_fn(|_| slots.admit().unwrap());
        busy.received();
        let third = slots.admit().unwrap();
        assert!(is_evicted(&first) && !is_evicted(&second));
        // An idle connection stays as long as there is one without any request.
        second.received();
        second.answered();
        let fourth = slots.admit().unwrap();
        assert!(is_evicted(&third) && !is_evicted(&second));
        fourth.received();
        let fifth = slots.admit().unwrap();
        assert!(is_evicted(&second));
        fifth.received();
        assert!(slots.admit().is_none(), "requests in progress are not given up");
        drop((first, third, fourth));
        assert!(slots.admit().is_some());
        drop((busy, second, fifth));
        assert_eq!(slots.table.lock().open, 0);
        assert!(slots.table.lock().queue.is_empty());
    }
}

//! Those who wait for a service to change.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use futures_util::task::AtomicWaker;
use portolan_core::Scope;

/// A watch that sleeps until something in its scopes changes.
#[derive(Debug)]
pub(crate) struct Waiter {
    scopes: Vec<Scope>,
    waker: AtomicWaker,
}

/// All that wait for the same service.
#[derive(Debug, Default)]
pub(super) struct Waiters(HashMap<usize, Arc<Waiter>>);

// === impl Waiter ===

impl Waiter {
    /// One that cares for these scopes; for all where there are none.
    pub(crate) fn new(scopes: Vec<Scope>) -> Arc<Self> {
        Arc::new(Self { scopes, waker: AtomicWaker::new() })
    }

    /// Whom to wake. To be called before looking for what is new, so that nothing slips between.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(super) fn scopes(&self) -> &[Scope] {
        &self.scopes
    }
}

// === impl Waiters ===

impl Waiters {
    pub(super) fn add(&mut self, waiter: &Arc<Waiter>) {
        self.0.insert(key(waiter), Arc::clone(waiter));
    }

    pub(super) fn remove(&mut self, waiter: &Arc<Waiter>) {
        self.0.remove(&key(waiter));
        // A thousand watches that came and went leave no room behind.
        if self.0.is_empty() {
            self.0 = HashMap::new();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn wake_if(&self, wanted: impl Fn(&Waiter) -> bool) {
        self.0.values().filter(|waiter| wanted(waiter)).for_each(|waiter| waiter.waker.wake());
    }
}

/// Its place in memory, which no other one has while it lives here.
fn key(waiter: &Arc<Waiter>) -> usize {
    Arc::as_ptr(waiter).addr()
}

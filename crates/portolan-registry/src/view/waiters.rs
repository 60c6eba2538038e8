//! Waiters: the wakers of watches.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use futures_util::task::AtomicWaker;
use portolan_core::Scope;

/// The waker of a watch, with the scopes whose changes wake it.
#[derive(Debug)]
pub(crate) struct Waiter {
    scopes: Vec<Scope>,
    waker: AtomicWaker,
}

/// The waiters of a service.
#[derive(Debug, Default)]
pub(super) struct Waiters(HashMap<usize, Arc<Waiter>>);

// === impl Waiter ===

impl Waiter {
    /// Creates a waiter for changes in these scopes; in all if empty.
    pub(crate) fn new(scopes: Vec<Scope>) -> Arc<Self> {
        Arc::new(Self { scopes, waker: AtomicWaker::new() })
    }

    /// Sets the waker. Call it before reading, so that no change is missed in between.
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
        // Releases the memory that many watches needed.
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

/// The address of the waiter, which is unique while it is alive.
fn key(waiter: &Arc<Waiter>) -> usize {
    Arc::as_ptr(waiter).addr()
}

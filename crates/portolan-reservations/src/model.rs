//! Support for the loom models: atomic words that loom explores, and threads that are killed after any
//! of their steps.
//!
//! Loom runs a model in every interleaving of its threads, with every value that a load may return
//! under the C11 memory model. A model that would take too long bounds the number of preemptions;
//! few preemptions find almost every fault.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release};

pub(crate) use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::{AtomicBool, fence};

use crate::atomic::AtomicWord;
use crate::slot::SessionId;

/// A word that a model can create.
pub(crate) trait ModelWord: AtomicWord + 'static {
    fn new(value: u64) -> Self;
}

/// Which sessions are alive.
#[derive(Debug)]
pub(crate) struct Sessions(Vec<AtomicBool>);

/// A word for a thread that is killed after some steps: later writes have no effect.
#[derive(Debug)]
pub(crate) struct Mortal<'a, W> {
    word: &'a W,
    life: Life,
}

/// How many writes a thread has left before it is killed.
#[derive(Debug, Clone)]
pub(crate) struct Life(Rc<Cell<usize>>);

/// A faulty word whose fences do nothing.
#[derive(Debug)]
pub(crate) struct Unfenced(AtomicU64);

/// A faulty word whose stores are relaxed.
#[derive(Debug)]
pub(crate) struct Unordered(AtomicU64);

/// A faulty word whose read-modify-write operations are not atomic.
#[derive(Debug)]
pub(crate) struct InTwoSteps(AtomicU64);

/// Checks the model in every interleaving.
pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    loom::model::Builder::new().check(model);
}

/// Checks the model in every interleaving with at most this many preemptions.
pub(crate) fn check_with_preemptions(most: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

/// Whether a model fails: one that cannot fail would prove nothing.
pub(crate) fn fails(model: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(model)).is_err()
}

/// Checks a model in which one thread is killed after no write, after one, and so on, until it
/// completes.
pub(crate) fn kill_after_each_step(check: impl Fn(usize, Arc<KillProbe>)) {
    let probe = Arc::new(KillProbe::default());
    for steps in 0..100 {
        check(steps, probe.clone());
        if !probe.killed.swap(false, Relaxed) {
            assert!(steps > 2, "the thread does nothing");
            return;
        }
    }
    panic!("the thread never completes");
}

/// Whether a thread was killed in any interleaving.
#[derive(Debug, Default)]
pub(crate) struct KillProbe {
    killed: std::sync::atomic::AtomicBool,
}

// === impl KillProbe ===

impl KillProbe {
    /// Records the end of the thread in one interleaving.
    pub(crate) fn record(&self, completed: bool) {
        self.killed.fetch_or(!completed, Relaxed);
    }
}

// === impl Sessions ===

impl Sessions {
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count).map(|_| AtomicBool::new(true)).collect())
    }

    pub(crate) fn is_alive(&self, session: SessionId) -> bool {
        self.0[session.index()].load(Acquire)
    }

    /// Ends a session as the kernel does: all writes of the owner happen before its lock is released.
    pub(crate) fn end(&self, session: SessionId) {
        self.0[session.index()].store(false, Release);
    }
}

/// The session with this index.
pub(crate) fn session(number: u16) -> SessionId {
    SessionId { index: number, epoch: 1 }
}

// === impl Mortal ===

impl<'a, W> Mortal<'a, W> {
    pub(crate) fn all(words: &'a [W], life: &Life) -> Vec<Self> {
        words.iter().map(|word| Self { word, life: life.clone() }).collect()
    }
}

impl<W: AtomicWord> AtomicWord for Mortal<'_, W> {
    fn load(&self, order: Ordering) -> u64 {
        if self.life.is_left() { self.word.load(order) } else { 0 }
    }

    fn store(&self, value: u64, order: Ordering) {
        if self.life.take_step() {
            self.word.store(value, order);
        }
    }

    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        match self.life.take_step() {
            true => self.word.compare_exchange(current, new),
            false => Ok(current),
        }
    }

    fn add(&self, value: u64) -> u64 {
        if self.life.take_step() { self.word.add(value) } else { value }
    }

    fn fence(order: Ordering) {
        W::fence(order);
    }
}

// === impl Life ===

impl Life {
    pub(crate) fn for_steps(steps: usize) -> Self {
        Self(Rc::new(Cell::new(steps)))
    }

    pub(crate) fn is_left(&self) -> bool {
        self.0.get() > 0
    }

    fn take_step(&self) -> bool {
        let lasts = self.is_left();
        self.0.set(self.0.get().saturating_sub(1));
        lasts
    }
}

// === impl ModelWord ===

impl ModelWord for AtomicU64 {
    fn new(value: u64) -> Self {
        Self::new(value)
    }
}

impl AtomicWord for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        self.compare_exchange(current, new, AcqRel, Acquire)
    }

    fn add(&self, value: u64) -> u64 {
        self.fetch_add(value, AcqRel).wrapping_add(value)
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

/// A word of loom with the given fault.
macro_rules! broken {
    ($name:ident, store: $store:expr, change: $change:expr, fence: $fence:expr) => {
        impl ModelWord for $name {
            fn new(value: u64) -> Self {
                Self(AtomicU64::new(value))
            }
        }

        impl AtomicWord for $name {
            fn load(&self, order: Ordering) -> u64 {
                self.0.load(order)
            }

            fn store(&self, value: u64, order: Ordering) {
                self.0.store(value, $store(order));
            }

            fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
                $change(&self.0, &|found| (found == current).then_some(new))
            }

            fn add(&self, value: u64) -> u64 {
                let found = $change(&self.0, &|found| Some(found.wrapping_add(value)));
                found.unwrap_or_default().wrapping_add(value)
            }

            fn fence(order: Ordering) {
                $fence(order);
            }
        }
    };
}

broken!(Unfenced, store: |order| order, change: in_one_step, fence: |_| ());
broken!(Unordered, store: |_| Relaxed, change: in_one_step, fence: fence);
broken!(InTwoSteps, store: |order| order, change: in_two_steps, fence: fence);

type Change<'a> = &'a dyn Fn(u64) -> Option<u64>;

fn in_one_step(word: &AtomicU64, change: Change<'_>) -> Result<u64, u64> {
    word.fetch_update(AcqRel, Acquire, change)
}

fn in_two_steps(word: &AtomicU64, change: Change<'_>) -> Result<u64, u64> {
    let found = word.load(Acquire);
    let changed = change(found).ok_or(found)?;
    word.store(changed, Release);
    Ok(found)
}

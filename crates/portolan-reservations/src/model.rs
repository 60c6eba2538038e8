//! What the models of the table have in common: words that a model checker (loom) steps through,
//! and a thread that is killed after any of its steps.
//!
//! A model runs in every order that its threads' steps can come in, with every value that a load
//! may see under the memory model of C11. Where that is more than can be waited for, a model says
//! how often a thread is interrupted at most; few interruptions find almost everything.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release};

pub(crate) use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::{AtomicBool, fence};

use crate::slot::SessionId;
use crate::word::Word;

/// A word that a model makes.
pub(crate) trait ModelWord: Word + 'static {
    fn new(value: u64) -> Self;
}

/// Sessions that last until they end.
#[derive(Debug)]
pub(crate) struct Sessions(Vec<AtomicBool>);

/// A word as a thread sees it that is killed after some steps: what comes later never happens.
#[derive(Debug)]
pub(crate) struct Mortal<'a, W> {
    word: &'a W,
    life: Life,
}

/// How many changes a thread has left.
#[derive(Debug, Clone)]
pub(crate) struct Life(Rc<Cell<usize>>);

/// A word whose fences do nothing.
#[derive(Debug)]
pub(crate) struct Unfenced(AtomicU64);

/// A word whose stores order nothing.
#[derive(Debug)]
pub(crate) struct Unordered(AtomicU64);

/// A word that is read first and changed then.
#[derive(Debug)]
pub(crate) struct InTwoSteps(AtomicU64);

/// Checks the model in every order.
pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    loom::model::Builder::new().check(model);
}

/// Checks the model in every order in which threads are interrupted so often at most.
pub(crate) fn check_with_interruptions(most: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

/// Whether a model fails: one that cannot would prove nothing.
pub(crate) fn is_found_wrong(model: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(model)).is_err()
}

/// Has a model checked in which one thread lives for no step, for one, and so on, until it lives
/// for all it would do.
pub(crate) fn for_each_step_to_be_killed_after(check: impl Fn(usize, Arc<Witness>)) {
    let witness = Arc::new(Witness::default());
    for steps in 0..100 {
        check(steps, witness.clone());
        if !witness.died.swap(false, Relaxed) {
            assert!(steps > 2, "a thread that does nothing");
            return;
        }
    }
    panic!("a thread that never ends");
}

/// Whether a mortal thread was killed in any order.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    died: std::sync::atomic::AtomicBool,
}

// === impl Witness ===

impl Witness {
    /// One more order was tried.
    pub(crate) fn saw_end(&self, had_life_left: bool) {
        self.died.fetch_or(!had_life_left, Relaxed);
    }
}

// === impl Sessions ===

impl Sessions {
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count).map(|_| AtomicBool::new(true)).collect())
    }

    pub(crate) fn is_alive(&self, session: SessionId) -> bool {
        self.0[session.place()].load(Acquire)
    }

    /// What the kernel does last of all: everything that the owner did is seen by whoever sees that
    /// its lock is gone.
    pub(crate) fn end(&self, session: SessionId) {
        self.0[session.place()].store(false, Release);
    }
}

/// The session of this number.
pub(crate) fn session(number: u16) -> SessionId {
    SessionId { index: number, epoch: 1 }
}

// === impl Mortal ===

impl<'a, W> Mortal<'a, W> {
    pub(crate) fn all(words: &'a [W], life: &Life) -> Vec<Self> {
        words.iter().map(|word| Self { word, life: life.clone() }).collect()
    }
}

impl<W: Word> Word for Mortal<'_, W> {
    fn load(&self, order: Ordering) -> u64 {
        if self.life.has_any_left() { self.word.load(order) } else { 0 }
    }

    fn store(&self, value: u64, order: Ordering) {
        if self.life.takes_a_step() {
            self.word.store(value, order);
        }
    }

    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        match self.life.takes_a_step() {
            true => self.word.compare_exchange(current, new),
            false => Ok(current),
        }
    }

    fn add(&self, value: u64) {
        if self.life.takes_a_step() {
            self.word.add(value);
        }
    }

    fn subtract(&self, value: u64) {
        if self.life.takes_a_step() {
            self.word.subtract(value);
        }
    }

    fn fence(order: Ordering) {
        W::fence(order);
    }
}

// === impl Life ===

impl Life {
    pub(crate) fn of_steps(steps: usize) -> Self {
        Self(Rc::new(Cell::new(steps)))
    }

    pub(crate) fn has_any_left(&self) -> bool {
        self.0.get() > 0
    }

    fn takes_a_step(&self) -> bool {
        let lasts = self.has_any_left();
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

impl Word for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        self.compare_exchange(current, new, AcqRel, Acquire)
    }

    fn add(&self, value: u64) {
        self.fetch_add(value, Relaxed);
    }

    fn subtract(&self, value: u64) {
        self.fetch_sub(value, Relaxed);
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

/// A word that is one of loom's but for what is said.
macro_rules! broken {
    ($name:ident, store: $store:expr, change: $change:expr, fence: $fence:expr) => {
        impl ModelWord for $name {
            fn new(value: u64) -> Self {
                Self(AtomicU64::new(value))
            }
        }

        impl Word for $name {
            fn load(&self, order: Ordering) -> u64 {
                self.0.load(order)
            }

            fn store(&self, value: u64, order: Ordering) {
                self.0.store(value, $store(order));
            }

            fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
                $change(&self.0, &|found| (found == current).then_some(new))
            }

            fn add(&self, value: u64) {
                _ = $change(&self.0, &|found| Some(found.wrapping_add(value)));
            }

            fn subtract(&self, value: u64) {
                _ = $change(&self.0, &|found| Some(found.wrapping_sub(value)));
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

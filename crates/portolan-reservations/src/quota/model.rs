//! Models of quotas: sessions that take ports concurrently and are killed after any step.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use loom::sync::{Mutex, MutexGuard};
use loom::thread::{self, JoinHandle};

use super::*;
use crate::depth::Depth;
use crate::model::{
    AtomicU64, InTwoSteps, Life, ModelWord, Mortal, Sessions, check_with_preemptions, fails,
    kill_after_each_step, session,
};
use crate::slot::Slot;

/// The number of words of a record that the model uses.
const RECORD: usize = 7;
const SLOTS: usize = 2;
const PREEMPTIONS: usize = 2;

/// The slots that a service may have, and what quotas need.
struct Table<W> {
    slots: Vec<W>,
    records: Vec<W>,
    last_ticket: Vec<W>,
    lock: Mutex<()>,
    sessions: Sessions,
}

/// The table as one session accesses it.
struct Access<'a, W> {
    slots: &'a [W],
    records: &'a [W],
    last_ticket: &'a W,
    lock: &'a Mutex<()>,
    sessions: &'a Sessions,
    number: u16,
    bound: LeaseBound,
}

// === impl Table ===

impl<W: ModelWord> Table<W> {
    fn new() -> Self {
        let words = |count| (0..count).map(|_| W::new(0)).collect();
        Self {
            slots: words(SLOTS),
            records: words(SLOTS * RECORD),
            last_ticket: words(1),
            lock: Mutex::new(()),
            sessions: Sessions::new(4),
        }
    }

    fn access(&self, number: u16) -> Access<'_, W> {
        Access {
            slots: &self.slots,
            records: &self.records,
            last_ticket: &self.last_ticket[0],
            lock: &self.lock,
            sessions: &self.sessions,
            number,
            bound: empty_bound(),
        }
    }

    /// Takes a port and releases it, unless the session is killed before; returns whether it was not.
    fn take_until_killed(&self, number: u16, steps: usize, quota: u32) -> bool {
        let life = Life::for_steps(steps);
        let [slots, records, last_ticket] =
            [&self.slots, &self.records, &self.last_ticket].map(|words| Mortal::all(words, &life));
        let mut access = Access {
            slots: &slots,
            records: &records,
            last_ticket: &last_ticket[0],
            lock: &self.lock,
            sessions: &self.sessions,
            number,
            bound: empty_bound(),
        };
        if let Some((index, slot)) = access.take(quota) {
            access.places().nth(index).expect("the slot that was taken").release(slot);
        }
        self.sessions.end(session(number));
        life.is_left()
    }
}

/// The bound of a session that scanned the table before any other session began.
fn empty_bound() -> LeaseBound {
    let held_by_service = vec![0; ServiceKey::BUCKETS].into_boxed_slice();
    LeaseBound { ticket: 0, claimed: 0, held: 0, held_by_service }
}

// === impl Access ===

impl<'a, W: AtomicWord> Access<'a, W> {
    fn places(&self) -> impl Iterator<Item = SlotProtocol<'a, W>> + use<'a, W> {
        let places = self.slots.iter().zip(self.records.chunks(RECORD));
        places.map(|(slot, record)| SlotProtocol { slot, record })
    }

    /// Claims, checks the quota and publishes, as a search for a port does.
    fn take(&mut self, quota: u32) -> Option<(usize, Slot)> {
        let mut lock = None;
        let mut index = 0;
        while let Some(place) = self.places().nth(index) {
            let is_alive = |other| self.sessions.is_alive(other);
            let Ok(claimed) = place.claim(session(self.number), is_alive) else {
                index += 1;
                continue;
            };
            match self.is_admitted(quota, &mut lock) {
                Some(true) => {
                    let requested = Slot::requested(Depth::Claimed, false);
                    return Some((index, place.publish(&claimed, requested, |_| ())));
                }
                Some(false) => {
                    place.withdraw(&claimed);
                    return None;
                }
                None => {
                    place.withdraw(&claimed);
                    lock = Some(self.lock.lock().expect("no thread panicked"));
                }
            }
        }
        None
    }

    /// Whether the claim keeps the quota; none if another session has locked the exact count.
    fn is_admitted(&mut self, limit: u32, lock: &mut Option<MutexGuard<'a, ()>>) -> Option<bool> {
        let quota = Quota { per_service: Some(limit), per_user: None };
        let ticket = self.last_ticket.add(1);
        let key = ServiceKey::from_word(0);
        if self.bound.allows_later_claim(key, ticket, quota) {
            return Some(true);
        }
        self.bound = LeaseBound::scan(self.last_ticket, self.places());
        if self.bound.allows_scanned_claim(key, quota) {
            return Some(true);
        }
        if lock.is_none() {
            *lock = Some(self.lock.try_lock().ok()?);
        }
        Some(self.places().filter(|place| self.is_in_force(place)).count() < limit as usize)
    }

    /// Whether the slot has a lease in force, once any other claim on it is decided.
    fn is_in_force(&self, place: &SlotProtocol<'_, W>) -> bool {
        let mut slot = place.load();
        let is_ours = |slot: Slot| slot.session() == session(self.number);
        while slot.state() == State::Trying && !is_ours(slot) && self.is_alive(slot) {
            thread::yield_now();
            slot = place.load();
        }
        slot.state() == State::Held && self.is_alive(slot)
    }

    fn is_alive(&self, slot: Slot) -> bool {
        self.sessions.is_alive(slot.session())
    }
}

fn start<W: ModelWord, R: 'static>(
    table: &Arc<Table<W>>,
    act: impl FnOnce(&Table<W>) -> R + 'static,
) -> JoinHandle<R> {
    let table = table.clone();
    thread::spawn(move || act(&table))
}

fn end<R>(thread: JoinHandle<R>) -> R {
    thread.join().expect("the thread completes")
}

/// Two sessions take a port at once, of a quota of one.
fn check_last_lease<W: ModelWord>() {
    check_with_preemptions(PREEMPTIONS, || {
        let table = Arc::new(Table::<W>::new());
        let other = start(&table, |table| table.access(1).take(1).is_some());
        let granted = [table.access(2).take(1).is_some(), end(other)];
        assert_eq!(granted.iter().filter(|granted| **granted).count(), 1, "{granted:?}");
    });
}

#[test]
fn exactly_one_of_two_concurrent_callers_gets_the_last_lease_of_a_quota() {
    check_last_lease::<AtomicU64>();
}

#[test]
fn tickets_that_are_not_taken_atomically_fail_the_model() {
    assert!(fails(check_last_lease::<InTwoSteps>));
}

#[test]
fn killed_session_neither_exceeds_nor_uses_up_a_quota() {
    kill_after_each_step(|steps, probe| {
        check_with_preemptions(PREEMPTIONS, move || {
            let table = Arc::new(Table::<AtomicU64>::new());
            let killed = start(&table, move |table| table.take_until_killed(0, steps, 1));
            let taken = table.access(1).take(1).is_some();
            probe.record(end(killed));
            let held = table.access(3).places().filter(|place| table.access(3).is_in_force(place));
            assert_eq!(held.count(), usize::from(taken));
            let again = table.access(3).take(1).is_some();
            assert_eq!(again, !taken, "the quota is available once its lease ended");
            assert!(table.last_ticket[0].load(Relaxed) > 0);
        });
    });
}

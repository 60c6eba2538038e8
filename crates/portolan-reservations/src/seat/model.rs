//! The counts together with the slots, checked in every order that their steps can come in, with
//! somebody killed after any of them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use loom::thread::{self, JoinHandle};

use super::*;
use crate::counts::Quota;
use crate::depth::Depth;
use crate::model::{
    AtomicU64, InTwoSteps, Life, ModelWord, Mortal, Sessions, check, check_with_interruptions,
    for_each_step_to_be_killed_after, is_found_wrong, session,
};
use crate::slot::State;

/// Fewer than there are slots.
const ONE: Quota = Quota { per_service: Some(1), per_user: None };
const ANY: Quota = Quota { per_service: None, per_user: None };
/// As many words of a record as the steps here reach.
const RECORD: usize = 7;
const SLOTS: usize = 2;

/// Two slots that one service may have, and how many it has.
struct Table<W> {
    slots: Vec<W>,
    records: Vec<W>,
    counts: Vec<W>,
    sessions: Sessions,
}

// === impl Table ===

impl<W: ModelWord> Table<W> {
    fn new() -> Self {
        let words = |count| (0..count).map(|_| W::new(0)).collect();
        Self {
            slots: words(SLOTS),
            records: words(SLOTS * RECORD),
            counts: words(2),
            sessions: Sessions::new(4),
        }
    }

    fn seats(&self) -> Vec<Seat<'_, W>> {
        seats(&self.slots, &self.records, &self.counts)
    }

    fn take(&self, number: u16, quota: Quota) -> Option<(usize, Slot)> {
        take(&self.seats(), number, &self.sessions, quota)
    }

    fn give_back(&self, (index, slot): (usize, Slot)) -> bool {
        self.seats()[index].release(slot)
    }

    /// Takes and gives back, unless it is killed before; whether it was not.
    fn take_and_give_back_until_killed(&self, number: u16, steps: usize, quota: Quota) -> bool {
        let life = Life::of_steps(steps);
        let [slots, records, counts] =
            [&self.slots, &self.records, &self.counts].map(|words| Mortal::all(words, &life));
        let seats = seats(&slots, &records, &counts);
        if let Some((index, slot)) = take(&seats, number, &self.sessions, quota) {
            seats[index].release(slot);
        }
        self.sessions.end(session(number));
        life.has_any_left()
    }

    /// How many leases are in force.
    fn held(&self) -> u64 {
        let is_in_force = |seat: &&Seat<'_, W>| {
            let slot = seat.cell.load();
            slot.state() == State::Held && self.sessions.is_alive(slot.session())
        };
        self.seats().iter().filter(is_in_force).count() as u64
    }

    /// How many leases of the service are counted, and how many of all.
    fn counted(&self) -> [u64; 2] {
        [0, 1].map(|count| self.counts[count].load(Relaxed))
    }

    fn counts_are_not_too_low(&self) -> bool {
        self.counted().iter().all(|count| (self.held()..10).contains(count))
    }
}

fn seats<'a, W: Word>(slots: &'a [W], records: &'a [W], counts: &'a [W]) -> Vec<Seat<'a, W>> {
    let cells = slots.iter().zip(records.chunks(RECORD));
    let counts = || Counts { of_services: &counts[..1], of_all: &counts[1] };
    let cell = |(slot, record): (&'a W, &'a [W])| {
        // The first word is no part of the record.
        let (witness, record) = (&record[0], record);
        Cell { slot, witness, record }
    };
    cells.map(|place| Seat { cell: cell(place), counts: counts() }).collect()
}

/// Counts, claims and publishes, as a search for a port does.
fn take<W: Word>(
    seats: &[Seat<'_, W>],
    number: u16,
    sessions: &Sessions,
    quota: Quota,
) -> Option<(usize, Slot)> {
    let tally = Tally::from_word(0);
    seats[0].counts.add(tally, quota).ok()?;
    for (index, seat) in seats.iter().enumerate() {
        if let Ok(taken) = seat.claim(session(number), |other| sessions.is_alive(other)) {
            return Some((index, seat.publish(&taken, Slot::wish(Depth::Claimed, false), |_| ())));
        }
    }
    seats[0].counts.remove(tally);
    None
}

fn start<W: ModelWord, R: 'static>(
    table: &Arc<Table<W>>,
    act: impl FnOnce(&Table<W>) -> R + 'static,
) -> JoinHandle<R> {
    let table = table.clone();
    thread::spawn(move || act(&table))
}

fn end<R>(thread: JoinHandle<R>) -> R {
    thread.join().expect("a thread that ends")
}

/// Two take at once, one of whom gives back again.
fn taking<W: ModelWord>(quota: Quota) {
    check(move || {
        let table = Arc::new(Table::<W>::new());
        let other = start(&table, move |table| table.take(1, quota).is_some());
        if let Some(lease) = table.take(2, quota) {
            assert!(table.give_back(lease) && !table.give_back(lease));
        }
        let held = u64::from(end(other));
        assert_eq!((table.held(), table.counted()), (held, [held; 2]));
    });
}

#[test]
fn where_nobody_is_killed_as_many_are_counted_as_are_held() {
    taking::<AtomicU64>(ANY);
    taking::<AtomicU64>(ONE);
}

#[test]
fn counts_that_are_read_first_and_written_then_are_found() {
    assert!(is_found_wrong(|| taking::<InTwoSteps>(ANY)));
}

#[test]
fn of_two_who_take_at_once_no_more_than_the_quota_get_a_port() {
    check(|| {
        let table = Arc::new(Table::<AtomicU64>::new());
        let other = start(&table, |table| table.take(1, ONE).is_some());
        let both = table.take(2, ONE).is_some() & end(other);
        assert!(!both && table.held() <= 1);
    });
}

#[test]
fn whenever_somebody_is_killed_the_counts_are_not_too_low() {
    for quota in [ONE, ANY] {
        for_each_step_to_be_killed_after(|steps, witness| {
            check_with_interruptions(3, move || {
                let table = Arc::new(Table::<AtomicU64>::new());
                let killed = start(&table, move |table| {
                    table.take_and_give_back_until_killed(0, steps, quota)
                });
                let taken = table.take(1, quota).is_some();
                witness.saw_end(end(killed));
                assert_eq!(table.held(), u64::from(taken));
                assert!(table.counts_are_not_too_low());
            });
        });
    }
}

#[test]
fn whoever_takes_over_or_clears_away_what_the_dead_left_counts_it_back_once() {
    for_each_step_to_be_killed_after(|steps, witness| {
        check_with_interruptions(2, move || {
            let table = Arc::new(Table::<AtomicU64>::new());
            let left = table.take(3, ANY).expect("a slot");
            table.sessions.end(session(3));
            let killed =
                start(&table, move |table| table.take_and_give_back_until_killed(0, steps, ANY));
            let taker = start(&table, |table| table.take(1, ANY).is_some());
            table.give_back(left);
            witness.saw_end(end(killed));
            assert!(end(taker), "there is a second slot");
            assert!(table.counts_are_not_too_low());
        });
    });
}

//! The steps of a slot, checked in every order that they can come in.

mod listener;

use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use loom::thread::{self, JoinHandle};

use super::*;
use crate::depth::Depth;
use crate::model::{
    AtomicU64, Life, ModelWord, Mortal, Sessions, Unfenced, Unordered, check,
    check_with_interruptions, for_each_step_to_be_killed_after, is_found_wrong, session,
};

/// Whose lease it is stands in both of these words of a record.
const HALVES: [usize; 2] = [1, 2];
/// As many as the steps here reach.
const RECORD: usize = 7;

/// One slot and its record, and the sessions that want it.
struct Place<W> {
    slot: W,
    witness: W,
    record: Vec<W>,
    sessions: Sessions,
}

// === impl Place ===

impl<W: ModelWord> Place<W> {
    fn new() -> Self {
        let record = (0..RECORD).map(|_| W::new(0)).collect();
        Self { slot: W::new(0), witness: W::new(0), record, sessions: Sessions::new(4) }
    }

    /// A place that the session holds.
    fn held_by(number: u16) -> (Self, Slot) {
        let place = Self::new();
        let slot = place.take(number).expect("a free slot");
        (place, slot)
    }

    fn cell(&self) -> Cell<'_, W> {
        Cell { slot: &self.slot, witness: &self.witness, record: &self.record }
    }

    /// Acts as a session that is killed after some steps.
    fn act_until_killed(
        &self,
        number: u16,
        life: &Life,
        act: impl FnOnce(Cell<'_, Mortal<'_, W>>),
    ) {
        let slot = Mortal::all(slice::from_ref(&self.slot), life);
        let witness = Mortal::all(slice::from_ref(&self.witness), life);
        let record = Mortal::all(&self.record, life);
        act(Cell { slot: &slot[0], witness: &witness[0], record: &record });
        self.sessions.end(session(number));
    }

    fn claim(&self, number: u16) -> Option<Taken> {
        claim(&self.cell(), number, &self.sessions)
    }

    /// Claims and publishes.
    fn take(&self, number: u16) -> Option<Slot> {
        take(&self.cell(), number, &self.sessions)
    }

    /// The slot, and whose lease the two halves of the record say it is.
    fn read(&self) -> Option<(Slot, [u64; 2])> {
        self.cell().read(|record| HALVES.map(|half| record[half].load(Relaxed)))
    }

    /// Whether the session holds the place, as the slot and both halves of the record say.
    fn is_held_by(&self, number: u16) -> bool {
        self.read().is_some_and(|(slot, halves)| {
            let is_theirs = slot.state() == State::Held && slot.session() == session(number);
            is_theirs && halves == [u64::from(number); 2]
        })
    }

    /// Whether one of these sessions holds the place, and nobody where it is none of them.
    fn is_held_by_one_of(&self, takers: [(u16, bool); 2]) -> bool {
        let mut takers = takers.into_iter().filter(|(_, took_it)| *took_it);
        match (takers.next(), takers.next()) {
            (None, _) => self.read().is_none(),
            (Some((number, _)), None) => self.is_held_by(number),
            (Some(_), Some(_)) => false,
        }
    }
}

fn claim<W: Word>(cell: &Cell<'_, W>, number: u16, sessions: &Sessions) -> Option<Taken> {
    cell.claim(session(number), |other| sessions.is_alive(other)).ok()
}

fn take<W: Word>(cell: &Cell<'_, W>, number: u16, sessions: &Sessions) -> Option<Slot> {
    let taken = claim(cell, number, sessions)?;
    Some(publish(cell, &taken, number))
}

fn publish<W: Word>(cell: &Cell<'_, W>, taken: &Taken, number: u16) -> Slot {
    cell.publish(taken, Slot::wish(Depth::Guarded, false), |record| {
        HALVES.iter().for_each(|half| record[*half].store(number.into(), Relaxed));
        Record::write_inode(record, 0);
    })
}

/// Starts a thread that does this to the place.
fn start<W: ModelWord, R: 'static>(
    place: &Arc<Place<W>>,
    act: impl FnOnce(&Place<W>) -> R + 'static,
) -> JoinHandle<R> {
    let place = place.clone();
    thread::spawn(move || act(&place))
}

fn end<R>(thread: JoinHandle<R>) -> R {
    thread.join().expect("a thread that ends")
}

#[test]
fn of_several_who_claim_a_free_slot_exactly_one_gets_it() {
    for others in [1, 2] {
        check(move || {
            let place = Arc::new(Place::<AtomicU64>::new());
            let claim = |number| start(&place, move |place| place.claim(number).is_some());
            let threads: Vec<_> = (1..=others).map(claim).collect();
            let own = place.claim(0).is_some();
            let others = threads.into_iter().map(end);
            assert_eq!(others.chain([own]).filter(|granted| *granted).count(), 1);
        });
    }
}

/// Two take over from an owner that ends meanwhile.
fn taking_over(is_alive: fn(&Sessions, SessionId) -> bool) {
    check(move || {
        let (place, slot) = Place::<AtomicU64>::held_by(0);
        let place = Arc::new(place);
        let take_over = |number| {
            start(&place, move |place| {
                let is_alive = |other| is_alive(&place.sessions, other);
                let taken = place.cell().claim(session(number), is_alive).ok();
                let taken = taken.inspect(|taken| {
                    assert!(taken.reclaimed && !place.sessions.is_alive(session(0)));
                    publish(&place.cell(), taken, number);
                });
                (number, taken.is_some())
            })
        };
        let takers = [take_over(1), take_over(2)];
        place.sessions.end(session(0));
        let takers = takers.map(end);
        let nobody_saw_it_end = takers.iter().all(|(_, took_it)| !took_it);
        match nobody_saw_it_end {
            true => assert_eq!(place.cell().load(), slot),
            false => assert!(place.is_held_by_one_of(takers)),
        }
    });
}

#[test]
fn of_two_who_take_over_from_an_owner_that_ends_at_most_one_gets_it() {
    taking_over(Sessions::is_alive);
}

#[test]
fn a_claim_that_does_not_ask_who_lives_is_found() {
    assert!(is_found_wrong(|| taking_over(|_, _| false)));
}

/// One gives the slot back and another takes it, while a third reads.
fn reading<W: ModelWord>() {
    check(|| {
        let (place, slot) = Place::<W>::held_by(1);
        let place = Arc::new(place);
        let reader = start(&place, |place| {
            if let Some((slot, [one, other])) = place.read() {
                assert_eq!(one, other, "half of one record and half of another");
                assert_eq!(u64::from(slot.session().index), one, "the record of another slot");
            }
        });
        let next = start(&place, |place| (2, place.take(2).is_some()));
        assert!(place.cell().release(slot));
        end(reader);
        assert!(place.is_held_by_one_of([end(next), (1, false)]));
    });
}

#[test]
fn a_reader_never_sees_half_of_one_record_and_half_of_another() {
    reading::<AtomicU64>();
}

#[test]
fn a_publish_without_a_fence_or_without_order_is_found() {
    assert!(is_found_wrong(reading::<Unfenced>));
    assert!(is_found_wrong(reading::<Unordered>));
}

#[test]
fn whenever_an_owner_is_killed_its_successor_takes_over_and_nobody_before() {
    for_each_step_to_be_killed_after(|steps, witness| {
        check_with_interruptions(2, move || {
            let place = Arc::new(Place::<AtomicU64>::new());
            let take = |number| start(&place, move |place| (number, place.take(number).is_some()));
            let killed = start(&place, move |place| {
                let life = Life::of_steps(steps);
                place.act_until_killed(0, &life, |cell| take_and_give_back(&cell, &place.sessions));
                life.has_any_left()
            });
            let takers = [take(1), take(2)];
            witness.saw_end(end(killed));
            let takers = takers.map(end);
            let nobody_took_it = takers.iter().all(|(_, took_it)| !took_it);
            assert!(nobody_took_it || place.is_held_by_one_of(takers));
            assert_eq!(place.take(3).is_some(), nobody_took_it, "and it is never lost");
        });
    });
}

fn take_and_give_back<W: Word>(cell: &Cell<'_, W>, sessions: &Sessions) {
    if let Some(slot) = take(cell, 0, sessions) {
        cell.release(slot);
    }
}

#[test]
fn a_stale_release_frees_nothing() {
    // Of the same session too: it may have got the port again meanwhile.
    for next in [1, 2] {
        check(move || {
            let (place, slot) = Place::<AtomicU64>::held_by(1);
            let place = Arc::new(place);
            let release = || start(&place, move |place| place.cell().release(slot));
            let next = start(&place, move |place| (next, place.take(next).is_some()));
            let releases = [release(), release()].map(end);
            assert_eq!(releases.iter().filter(|released| **released).count(), 1);
            let next = end(next);
            assert!(!place.cell().release(slot));
            assert!(place.is_held_by_one_of([next, (3, false)]));
        });
    }
}

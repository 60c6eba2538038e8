//! Models of the slot protocol: all interleavings of its steps.

mod listener;

use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use loom::thread::{self, JoinHandle};

use super::*;
use crate::depth::Depth;
use crate::model::{
    AtomicU64, Life, ModelWord, Mortal, Sessions, Unfenced, Unordered, check,
    check_with_preemptions, fails, kill_after_each_step, session,
};

/// The two words of a record that say whose lease it is.
const HALVES: [usize; 2] = [1, 2];
/// The number of words of a record that the model uses.
const RECORD: usize = 7;

/// A slot, its record, and sessions.
struct Place<W> {
    slot: W,
    record: Vec<W>,
    sessions: Sessions,
}

// === impl Place ===

impl<W: ModelWord> Place<W> {
    fn new() -> Self {
        let record = (0..RECORD).map(|_| W::new(0)).collect();
        Self { slot: W::new(0), record, sessions: Sessions::new(4) }
    }

    /// A place with a lease of the session.
    fn held_by(number: u16) -> (Self, Slot) {
        let place = Self::new();
        let slot = place.take(number).expect("a free slot");
        (place, slot)
    }

    fn protocol(&self) -> SlotProtocol<'_, W> {
        SlotProtocol { slot: &self.slot, record: &self.record }
    }

    /// Acts as a session that is killed after some writes.
    fn act_until_killed(
        &self,
        number: u16,
        life: &Life,
        act: impl FnOnce(SlotProtocol<'_, Mortal<'_, W>>),
    ) {
        let slot = Mortal::all(slice::from_ref(&self.slot), life);
        let record = Mortal::all(&self.record, life);
        act(SlotProtocol { slot: &slot[0], record: &record });
        self.sessions.end(session(number));
    }

    fn claim(&self, number: u16) -> Option<ClaimedSlot> {
        claim(&self.protocol(), number, &self.sessions)
    }

    /// Claims and publishes.
    fn take(&self, number: u16) -> Option<Slot> {
        take(&self.protocol(), number, &self.sessions)
    }

    /// The slot, and the owner according to each half of the record.
    fn read(&self) -> Option<(Slot, [u64; 2])> {
        self.protocol().read(|record| HALVES.map(|half| record[half].load(Relaxed)))
    }

    /// Whether the slot and both halves of the record name the session as the owner.
    fn is_held_by(&self, number: u16) -> bool {
        self.read().is_some_and(|(slot, halves)| {
            let in_slot = slot.state() == State::Held && slot.session() == session(number);
            in_slot && halves == [u64::from(number); 2]
        })
    }

    /// Whether the only session that took the place holds it, or the place is free if none took it.
    fn is_held_by_one_of(&self, takers: [(u16, bool); 2]) -> bool {
        let mut takers = takers.into_iter().filter(|(_, took_it)| *took_it);
        match (takers.next(), takers.next()) {
            (None, _) => self.read().is_none(),
            (Some((number, _)), None) => self.is_held_by(number),
            (Some(_), Some(_)) => false,
        }
    }
}

fn claim<W: AtomicWord>(
    place: &SlotProtocol<'_, W>,
    number: u16,
    sessions: &Sessions,
) -> Option<ClaimedSlot> {
    place.claim(session(number), |other| sessions.is_alive(other)).ok()
}

fn take<W: AtomicWord>(
    place: &SlotProtocol<'_, W>,
    number: u16,
    sessions: &Sessions,
) -> Option<Slot> {
    let claimed = claim(place, number, sessions)?;
    Some(publish(place, &claimed, number))
}

fn publish<W: AtomicWord>(place: &SlotProtocol<'_, W>, claimed: &ClaimedSlot, number: u16) -> Slot {
    place.publish(claimed, Slot::requested(Depth::Guarded, false), |record| {
        HALVES.iter().for_each(|half| record[*half].store(number.into(), Relaxed));
        Record::write_inode(record, 0);
    })
}

/// Starts a thread that acts on the place.
fn start<W: ModelWord, R: 'static>(
    place: &Arc<Place<W>>,
    act: impl FnOnce(&Place<W>) -> R + 'static,
) -> JoinHandle<R> {
    let place = place.clone();
    thread::spawn(move || act(&place))
}

fn end<R>(thread: JoinHandle<R>) -> R {
    thread.join().expect("the thread completes")
}

#[test]
fn exactly_one_of_several_concurrent_claims_succeeds() {
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

/// Two sessions reclaim the slot of an owner that ends meanwhile.
fn check_reclaim(is_alive: fn(&Sessions, SessionId) -> bool) {
    check(move || {
        let (place, slot) = Place::<AtomicU64>::held_by(0);
        let place = Arc::new(place);
        let reclaim = |number| {
            start(&place, move |place| {
                let is_alive = |other| is_alive(&place.sessions, other);
                let claimed = place.protocol().claim(session(number), is_alive).ok();
                let claimed = claimed.inspect(|claimed| {
                    assert!(claimed.reclaimed && !place.sessions.is_alive(session(0)));
                    publish(&place.protocol(), claimed, number);
                });
                (number, claimed.is_some())
            })
        };
        let takers = [reclaim(1), reclaim(2)];
        place.sessions.end(session(0));
        let takers = takers.map(end);
        match takers.iter().any(|(_, took_it)| *took_it) {
            true => assert!(place.is_held_by_one_of(takers)),
            false => assert_eq!(place.protocol().load(), slot),
        }
    });
}

#[test]
fn at_most_one_of_two_reclaims_succeeds() {
    check_reclaim(Sessions::is_alive);
}

#[test]
fn claim_that_ignores_living_owners_fails_the_model() {
    assert!(fails(|| check_reclaim(|_, _| false)));
}

/// One session releases the slot and another takes it while a third reads.
fn check_read<W: ModelWord>() {
    check(|| {
        let (place, slot) = Place::<W>::held_by(1);
        let place = Arc::new(place);
        let reader = start(&place, |place| {
            if let Some((slot, [one, other])) = place.read() {
                assert_eq!(one, other, "parts of two records");
                assert_eq!(u64::from(slot.session().index), one, "the record of another slot");
            }
        });
        let next = start(&place, |place| (2, place.take(2).is_some()));
        assert!(place.protocol().release(slot));
        end(reader);
        assert!(place.is_held_by_one_of([end(next), (1, false)]));
    });
}

#[test]
fn reader_never_sees_parts_of_two_records() {
    check_read::<AtomicU64>();
}

#[test]
fn publish_without_a_fence_or_without_ordering_fails_the_model() {
    assert!(fails(check_read::<Unfenced>));
    assert!(fails(check_read::<Unordered>));
}

#[test]
fn slot_of_a_killed_owner_is_reclaimed_once() {
    kill_after_each_step(|steps, probe| {
        check_with_preemptions(2, move || {
            let place = Arc::new(Place::<AtomicU64>::new());
            let take = |number| start(&place, move |place| (number, place.take(number).is_some()));
            let killed = start(&place, move |place| {
                let life = Life::for_steps(steps);
                place.act_until_killed(0, &life, |it| take_and_release(&it, &place.sessions));
                life.is_left()
            });
            let takers = [take(1), take(2)];
            probe.record(end(killed));
            let takers = takers.map(end);
            let is_free = takers.iter().all(|(_, took_it)| !took_it);
            assert!(is_free || place.is_held_by_one_of(takers));
            assert_eq!(place.take(3).is_some(), is_free, "the slot is never lost");
        });
    });
}

fn take_and_release<W: AtomicWord>(place: &SlotProtocol<'_, W>, sessions: &Sessions) {
    if let Some(slot) = take(place, 0, sessions) {
        place.release(slot);
    }
}

#[test]
fn stale_release_frees_nothing() {
    // Session 1 too: it may have got the port again meanwhile.
    for next in [1, 2] {
        check(move || {
            let (place, slot) = Place::<AtomicU64>::held_by(1);
            let place = Arc::new(place);
            let release = || start(&place, move |place| place.protocol().release(slot));
            let next = start(&place, move |place| (next, place.take(next).is_some()));
            let releases = [release(), release()].map(end);
            assert_eq!(releases.iter().filter(|released| **released).count(), 1);
            let next = end(next);
            assert!(!place.protocol().release(slot));
            assert!(place.is_held_by_one_of([next, (3, false)]));
        });
    }
}

//! Models of a listener whose port is claimed.

use super::*;

const INODE: usize = 4;

/// The slot, and the inode of the listener in its record.
fn read<W: AtomicWord>(place: &SlotProtocol<'_, W>) -> Option<(Slot, u64)> {
    place.read(|record| record[INODE].load(Relaxed))
}

fn is_listed<W: AtomicWord>(place: &SlotProtocol<'_, W>) -> bool {
    read(place).is_some_and(|(slot, inode)| slot.is_listing() && inode == 77)
}

/// A lease is left to its listener while another session claims the port and withdraws or publishes.
fn check_leave(withdraws: bool) {
    check_with_preemptions(3, move || {
        let (place, slot) = Place::<AtomicU64>::held_by(1);
        let place = Arc::new(place);
        let other = start(&place, move |place| {
            let claimed = place.claim(2)?;
            assert!(claimed.has_record && !claimed.reclaimed);
            if withdraws {
                place.protocol().withdraw(&claimed);
                return None;
            }
            publish(&place.protocol(), &claimed, 2);
            Some(())
        });
        let reader = start(&place, move |place| match read(&place.protocol()) {
            Some((slot, inode)) if slot.is_listing() => {
                assert_eq!(inode, 77, "an incomplete record");
            }
            Some((slot, _)) => assert!(slot.state() == State::Held),
            None => assert!(!withdraws, "the listener is never unlisted"),
        });
        assert!(place.protocol().leave_to_listener(slot, 77));
        end(reader);
        match end(other) {
            Some(()) => assert!(place.is_held_by(2)),
            None => assert!(is_listed(&place.protocol())),
        }
    });
}

#[test]
fn listener_is_listed_or_replaced_when_its_port_is_claimed_meanwhile() {
    check_leave(true);
    check_leave(false);
}

#[test]
fn listener_stays_listed_when_a_claiming_process_is_killed() {
    kill_after_each_step(|steps, probe| {
        check(move || {
            let (place, slot) = Place::<AtomicU64>::held_by(1);
            assert!(place.protocol().leave_to_listener(slot, 77));
            let place = Arc::new(place);
            let killed = start(&place, move |place| {
                let life = Life::for_steps(steps);
                place.act_until_killed(0, &life, |it| claim_and_withdraw(&it, 0, &place.sessions));
                life.is_left()
            });
            let other =
                start(&place, |place| claim_and_withdraw(&place.protocol(), 2, &place.sessions));
            assert!(is_listed(&place.protocol()));
            probe.record(end(killed));
            end(other);
            assert!(is_listed(&place.protocol()));
            assert!(place.take(3).is_some() && place.is_held_by(3), "the port can be taken");
        });
    });
}

fn claim_and_withdraw<W: AtomicWord>(
    place: &SlotProtocol<'_, W>,
    number: u16,
    sessions: &Sessions,
) {
    if let Some(claimed) = claim(place, number, sessions) {
        place.withdraw(&claimed);
    }
}

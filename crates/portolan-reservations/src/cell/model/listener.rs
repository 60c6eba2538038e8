//! What becomes of a listener's name, while others claim its port.

use super::*;

const INODE: usize = 4;

/// The slot, and which socket the record says to be its listener.
fn read<W: Word>(cell: &Cell<'_, W>) -> Option<(Slot, u64)> {
    cell.read(|record| record[INODE].load(Relaxed))
}

/// The listener of this place is still listed.
fn is_listed<W: Word>(cell: &Cell<'_, W>) -> bool {
    read(cell).is_some_and(|(slot, inode)| slot.is_listing() && inode == 77)
}

/// A lease becomes the listing of a listener while another claims the port, and gives it up or not.
fn leaving(gives_up: bool) {
    check_with_interruptions(3, move || {
        let (place, slot) = Place::<AtomicU64>::held_by(1);
        let place = Arc::new(place);
        let other = start(&place, move |place| {
            let taken = place.claim(2)?;
            assert!(taken.displaced.is_some() && !taken.reclaimed);
            match gives_up {
                true => place.cell().withdraw(&taken),
                false => publish(&place.cell(), &taken, 2),
            };
            Some(()).filter(|()| !gives_up)
        });
        let reader = start(&place, move |place| match read(&place.cell()) {
            Some((slot, inode)) if slot.is_listing() => assert_eq!(inode, 77, "half a listener"),
            Some((slot, _)) => assert!(slot.state() == State::Held),
            None => assert!(!gives_up, "a listener is lost for a moment"),
        });
        assert!(place.cell().leave_to_listener(slot, 77));
        end(reader);
        match end(other) {
            Some(()) => assert!(place.is_held_by(2)),
            None => assert!(is_listed(&place.cell())),
        }
    });
}

#[test]
fn a_listener_is_listed_or_replaced_whoever_claims_its_port_meanwhile() {
    leaving(true);
    leaving(false);
}

#[test]
fn a_listener_keeps_its_name_whenever_who_claims_its_port_is_killed() {
    for_each_step_to_be_killed_after(|steps, witness| {
        check(move || {
            let (place, slot) = Place::<AtomicU64>::held_by(1);
            assert!(place.cell().leave_to_listener(slot, 77));
            let place = Arc::new(place);
            let killed = start(&place, move |place| {
                let life = Life::of_steps(steps);
                place.act_until_killed(0, &life, |cell| claim_in_vain(&cell, 0, &place.sessions));
                life.has_any_left()
            });
            let other = start(&place, |place| claim_in_vain(&place.cell(), 2, &place.sessions));
            assert!(is_listed(&place.cell()));
            witness.saw_end(end(killed));
            end(other);
            assert!(is_listed(&place.cell()));
            assert!(place.take(3).is_some() && place.is_held_by(3), "once the listener is gone");
        });
    });
}

fn claim_in_vain<W: Word>(cell: &Cell<'_, W>, number: u16, sessions: &Sessions) {
    if let Some(taken) = claim(cell, number, sessions) {
        cell.withdraw(&taken);
    }
}

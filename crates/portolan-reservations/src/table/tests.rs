use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{Depth, State};

const PORT: u16 = 5432;

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn table(&self) -> Table {
        Table::open(self.folder.path()).unwrap()
    }

    fn session(&self, seed: u64) -> (Table, SessionId) {
        let table = self.table();
        let session = table.open_session(seed).unwrap();
        (table, session)
    }
}

fn record(service: &str) -> Record {
    Record {
        service: service.parse().unwrap(),
        scope: "test".parse().unwrap(),
        port_name: None,
        since: Timestamp::UNIX_EPOCH,
        pid: 1,
        uid: 2,
        start_time: 3,
        inode: 0,
    }
}

fn try_claim(table: &Table, port: u16, session: SessionId, wish: Slot) -> Result<Claim, Slot> {
    table.claim(port, session, wish, |other| table.is_alive(other, Some(session)))
}

fn publish(table: &Table, claim: Claim, record: &Record) -> Slot {
    let counted = table.count_anyway(Tally::of(&record.scope, &record.service));
    table.make_room(&claim).unwrap();
    table.publish(claim, record, counted)
}

fn wish() -> Slot {
    Slot::wish(Depth::Guarded, true)
}

fn lease(table: &Table, session: SessionId, service: &str) -> Slot {
    let claim = try_claim(table, PORT, session, wish()).unwrap();
    publish(table, claim, &record(service))
}

#[test]
fn a_port_is_held_by_one_session_until_it_is_released() {
    let world = World::new();
    let ((one, first), (other, second)) = (world.session(1), world.session(1));
    assert_ne!(first, second, "the same seed finds the next free place");
    let slot = lease(&one, first, "api");
    assert!(try_claim(&other, PORT, second, wish()).is_err());
    assert!(try_claim(&one, PORT, first, wish()).is_err(), "not twice in one session either");
    assert_eq!(other.read(PORT), Some((slot, record("api"))));
    assert_eq!((slot.depth(), slot.udp()), (Depth::Guarded, true));
    assert!(one.release(PORT, slot));
    assert_eq!(other.read(PORT), None);
    assert!(try_claim(&other, PORT, second, wish()).is_ok());
}

#[test]
fn what_a_session_held_is_free_once_it_ended_and_not_before() {
    let world = World::new();
    let (one, first) = world.session(7);
    let slot = lease(&one, first, "api");
    let child = one.descriptor().try_clone_to_owned().unwrap();
    drop(one);
    let (other, second) = world.session(9);
    assert!(other.is_alive(slot.session(), Some(second)), "a child has the descriptor");
    assert!(try_claim(&other, PORT, second, wish()).is_err());
    drop(child);
    assert!(!other.is_alive(slot.session(), Some(second)));
    assert!(try_claim(&other, PORT, second, wish()).unwrap().reclaimed());
}

#[test]
fn a_later_session_in_the_same_place_inherits_nothing() {
    let world = World::new();
    let (one, first) = world.session(7);
    lease(&one, first, "api");
    let (_, third) = (try_claim(&one, PORT + 1, first, wish()).unwrap(), world.table());
    drop(one);
    let (other, second) = world.session(7);
    assert_eq!(second.index, first.index);
    assert_ne!(second.epoch, first.epoch);
    for (table, own) in [(&other, Some(second)), (&third, None)] {
        assert!(!table.is_alive(first, own));
        assert!(table.is_alive(second, own));
    }
    for port in [PORT, PORT + 1] {
        assert!(
            try_claim(&other, port, second, wish()).is_ok(),
            "killed while it held or claimed {port}"
        );
    }
}

#[test]
fn a_stale_release_frees_nothing() {
    let world = World::new();
    let (one, first) = world.session(1);
    let old = lease(&one, first, "api");
    assert!(one.release(PORT, old));
    let new = lease(&one, first, "api");
    assert!(!one.release(PORT, old));
    assert_eq!(one.slot(PORT), new);
}

#[test]
fn a_withdrawn_claim_leaves_the_slot_as_it_was() {
    let world = World::new();
    let ((one, first), (other, second)) = (world.session(1), world.session(2));
    let claim = try_claim(&one, PORT, first, wish()).unwrap();
    assert_eq!(other.read(PORT), None, "a claim is no lease yet");
    one.withdraw(claim);
    assert_eq!(one.slot(PORT).state(), State::Free);

    let slot = lease(&one, first, "api");
    one.leave_to_listener(PORT, slot, 77).unwrap();
    let listening = Record { inode: 77, ..record("api") };
    let listed = || {
        let (slot, found) = one.read(PORT).expect("a listener");
        assert_eq!((slot.is_listing(), slot.depth(), slot.udp()), (true, Depth::Guarded, true));
        assert_eq!(found, listening);
        slot.state()
    };
    assert_eq!(listed(), State::Listening);
    let claim = try_claim(&other, PORT, second, Slot::wish(Depth::Bound, false)).unwrap();
    assert!(!claim.reclaimed());
    assert_eq!(listed(), State::Trying, "and not without a name meanwhile");
    other.withdraw(claim);
    assert_eq!(listed(), State::Listening);
}

#[test]
fn a_listener_keeps_its_name_when_who_claims_its_port_is_killed() {
    let world = World::new();
    let ((one, first), (killed, second)) = (world.session(1), world.session(2));
    let slot = lease(&one, first, "api");
    one.leave_to_listener(PORT, slot, 77).unwrap();
    try_claim(&killed, PORT, second, wish()).unwrap();
    drop(killed);
    let (other, third) = world.session(3);
    assert_eq!(other.read(PORT).unwrap().1.inode, 77);
    let claim = try_claim(&other, PORT, third, Slot::wish(Depth::Bound, false)).unwrap();
    let slot = publish(&other, claim, &record("web"));
    assert_eq!((slot.state(), slot.depth(), slot.udp()), (State::Held, Depth::Bound, false));
    assert_eq!(one.read(PORT), Some((slot, record("web"))), "where the listener is gone");
}

#[test]
fn a_table_that_was_cut_off_is_noticed_before_it_is_touched() {
    let world = World::new();
    let (one, _) = world.session(1);
    one.file.set_len(0).unwrap();
    assert!(matches!(one.check(), Err(TableError::Damaged { .. })));
    assert!(matches!(Table::open(world.folder.path()), Err(TableError::Damaged { .. })));
}

#[test]
fn a_lease_that_is_not_ours_any_more_cannot_be_left_to_a_listener() {
    let world = World::new();
    let (one, first) = world.session(1);
    let slot = lease(&one, first, "api");
    assert!(one.release(PORT, slot));
    let left = one.leave_to_listener(PORT, slot, 77);
    assert!(matches!(left, Err(TableError::Damaged { .. })));
}

#[test]
fn a_table_that_was_removed_is_noticed() {
    let world = World::new();
    let (one, _) = world.session(1);
    let other = world.table();
    std::fs::remove_file(&one.path).unwrap();
    let error = one.check().unwrap_err();
    assert!(error.to_string().contains("start this program again"), "{error}");
    assert!(matches!(other.open_session(2), Err(TableError::Removed { .. })));
}

#[test]
fn no_session_begins_while_the_table_is_being_made() {
    let world = World::new();
    let (maker, table) = (world.table(), world.table());
    assert!(lock::try_lock(&maker.file, file::INIT_LOCK, Kind::Exclusive).unwrap());
    assert!(!lock::wait(&table.file, file::INIT_LOCK, Kind::Shared, Duration::ZERO).unwrap());
    drop(maker);
    assert!(table.open_session(1).is_ok());
}

#[test]
fn of_many_who_claim_one_port_at_once_one_gets_it() {
    let world = Arc::new(World::new());
    let granted = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(std::sync::Barrier::new(8));
    let threads = (0..8).map(|seed| {
        let (world, granted, start) = (world.clone(), granted.clone(), start.clone());
        std::thread::spawn(move || {
            let (table, session) = world.session(seed);
            start.wait();
            for port in 20_000..21_000 {
                granted.fetch_add(try_claim(&table, port, session, wish()).is_ok().into(), SeqCst);
            }
            // No session ends before all have tried.
            start.wait();
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(granted.load(SeqCst), 1000);
}

#[test]
fn a_reader_never_sees_half_of_one_record_and_half_of_another() {
    let world = World::new();
    let (one, first) = world.session(1);
    let reader = world.table();
    let done = Arc::new(AtomicUsize::new(0));
    let ended = done.clone();
    let looks = std::thread::spawn(move || {
        let mut seen = 0;
        while ended.load(SeqCst) == 0 {
            if let Some((_, found)) = reader.read(PORT) {
                let service = found.service.as_str();
                assert_eq!(service.len(), found.inode as usize, "{service}");
                seen += 1;
            }
        }
        seen
    });
    for round in 0..20_000_usize {
        let name = ["a", "b"][round % 2].repeat(1 + round % 128);
        let record = Record { inode: name.len() as u64, ..record(&name) };
        let claim = try_claim(&one, PORT, first, wish()).unwrap();
        let slot = publish(&one, claim, &record);
        assert!(one.release(PORT, slot));
    }
    done.store(1, SeqCst);
    looks.join().unwrap();
}

#[test]
fn no_number_that_somebody_scribbled_on_gives_a_living_owners_port_away() {
    for bit in 0..64 {
        let world = World::new();
        let ((one, first), (other, second)) = (world.session(1), world.session(9));
        lease(&one, first, "api");
        let [epoch, again] = one.epochs(first.index);
        for word in [one.cell(PORT).slot, one.cell(PORT).witness, epoch, again] {
            let before = word.load(Acquire);
            for scribble in [before ^ 1 << bit, 0, u64::MAX, before & !(0xff << (bit / 8 * 8))] {
                word.store(scribble, Release);
                assert!(try_claim(&other, PORT, second, wish()).is_err(), "{scribble:#x}");
            }
            word.store(before, Release);
        }
    }
}

#[test]
fn a_late_release_does_not_take_the_witness_of_the_next_lease() {
    let world = World::new();
    let ((one, first), (other, second)) = (world.session(1), world.session(2));
    let old = lease(&one, first, "api");
    assert!(one.release(PORT, old));
    let new = lease(&other, second, "web");
    assert!(!one.release(PORT, old));
    assert_eq!(other.cell(PORT).witness.load(Acquire), new.word());
    assert!(other.release(PORT, new));
    assert_eq!(other.cell(PORT).witness.load(Acquire), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_contents_of_slot_and_record_break_anything(slot: u64, epoch: u64, words in prop::collection::vec(any::<u64>(), record::WORDS)) {
        let world = World::new();
        let (table, session) = world.session(1);
        table.cell(PORT).slot.store(slot, Release);
        let place = Slot::from_word(slot).session().index;
        if place != session.index {
            table.epochs(place).into_iter().for_each(|word| word.store(epoch, Release));
        }
        for (word, number) in table.record_words(PORT).iter().zip(words) {
            word.store(number, Relaxed);
        }
        table.read(PORT);
        // Nobody's byte is locked but our own, so whatever stands there is nobody's lease.
        prop_assume!(Slot::from_word(slot).session() != session);
        let claim = try_claim(&table, PORT, session, wish()).unwrap();
        let slot = publish(&table, claim, &record("api"));
        prop_assert_eq!(table.read(PORT), Some((slot, record("api"))));
        prop_assert!(table.release(PORT, slot));
    }
}

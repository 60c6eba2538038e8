use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{Depth, Quota, State};

const PORT: u16 = 5432;

struct Env {
    directory: tempfile::TempDir,
}

impl Env {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn table(&self) -> Table {
        Table::open(self.directory.path()).unwrap()
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

fn try_claim(table: &Table, port: u16, session: SessionId, requested: Slot) -> Result<Claim, Slot> {
    table.claim(port, session, requested, |other| table.is_alive(other, Some(session)))
}

fn publish(table: &Table, claim: Claim, record: &Record) -> Slot {
    table.allocate_record(&claim).unwrap();
    table.publish(claim, record, key(record))
}

fn key(record: &Record) -> ServiceKey {
    ServiceKey::new(&record.scope, &record.service)
}

fn requested() -> Slot {
    Slot::requested(Depth::Guarded, true)
}

fn lease(table: &Table, session: SessionId, service: &str) -> Slot {
    let claim = try_claim(table, PORT, session, requested()).unwrap();
    publish(table, claim, &record(service))
}

#[test]
fn port_is_held_by_one_session_until_it_is_released() {
    let env = Env::new();
    let ((one, first), (other, second)) = (env.session(1), env.session(1));
    assert_ne!(first, second, "the same seed finds the next free lock byte");
    let slot = lease(&one, first, "api");
    assert!(try_claim(&other, PORT, second, requested()).is_err());
    assert!(try_claim(&one, PORT, first, requested()).is_err(), "not twice in one session either");
    assert_eq!(other.read(PORT), Some((slot, record("api"))));
    assert_eq!((slot.depth(), slot.udp()), (Depth::Guarded, true));
    assert!(one.release(PORT, slot));
    assert_eq!(other.read(PORT), None);
    assert!(try_claim(&other, PORT, second, requested()).is_ok());
}

#[test]
fn lease_lasts_until_the_last_share_of_its_session_is_closed() {
    let env = Env::new();
    let (one, first) = env.session(7);
    let slot = lease(&one, first, "api");
    let child = one.share_session(first).unwrap();
    drop(one.share_session(first).unwrap());
    drop(one);
    let (other, second) = env.session(9);
    assert!(other.is_alive(slot.session(), Some(second)), "a child has a share");
    assert!(try_claim(&other, PORT, second, requested()).is_err());
    drop(child);
    assert!(!other.is_alive(slot.session(), Some(second)));
    assert!(try_claim(&other, PORT, second, requested()).unwrap().reclaimed());
}

#[test]
fn later_session_with_the_same_lock_byte_inherits_nothing() {
    let env = Env::new();
    let (one, first) = env.session(7);
    lease(&one, first, "api");
    let (_, third) = (try_claim(&one, PORT + 1, first, requested()).unwrap(), env.table());
    drop(one);
    let (other, second) = env.session(7);
    assert_eq!(second.index, first.index);
    assert_ne!(second.epoch, first.epoch);
    for (table, own) in [(&other, Some(second)), (&third, None)] {
        assert!(!table.is_alive(first, own));
        assert!(table.is_alive(second, own));
    }
    for port in [PORT, PORT + 1] {
        assert!(
            try_claim(&other, port, second, requested()).is_ok(),
            "killed while it held or claimed {port}"
        );
    }
}

#[test]
fn lock_byte_is_not_used_again_while_a_share_of_its_session_is_left() {
    let env = Env::new();
    let (one, first) = env.session(7);
    let slot = lease(&one, first, "api");
    let child = one.share_session(first).unwrap();
    drop(one);
    let (other, second) = env.session(7);
    assert_ne!(second.index, first.index);
    assert!(other.is_alive(slot.session(), Some(second)));
    drop(child);
    let (_third, third) = env.session(7);
    assert_eq!((third.index, third.epoch), (first.index, first.epoch + 1));
}

#[test]
fn owner_that_unlocks_its_share_is_alive_all_the_same() {
    let env = Env::new();
    let (one, first) = env.session(7);
    let child = File::from(std::os::fd::OwnedFd::from(one.share_session(first).unwrap()));
    lock::unlock(&child, 0).unwrap();
    let (other, second) = env.session(9);
    assert!(other.is_alive(first, Some(second)), "the owner lives");
    drop(one);
    assert!(!other.is_alive(first, Some(second)));
}

#[test]
fn file_of_a_session_is_removed_with_its_last_share() {
    let env = Env::new();
    let count = || std::fs::read_dir(env.directory.path()).unwrap().count();
    let (one, first) = env.session(7);
    drop(one.share_session(first).unwrap());
    assert_eq!(count(), 2);
    drop(one);
    assert_eq!(count(), 1);
}

#[test]
fn stale_release_frees_nothing() {
    let env = Env::new();
    let (one, first) = env.session(1);
    let old = lease(&one, first, "api");
    assert!(one.release(PORT, old));
    let new = lease(&one, first, "api");
    assert!(!one.release(PORT, old));
    assert_eq!(one.slot(PORT), new);
}

#[test]
fn withdrawn_claim_restores_the_slot() {
    let env = Env::new();
    let ((one, first), (other, second)) = (env.session(1), env.session(2));
    let claim = try_claim(&one, PORT, first, requested()).unwrap();
    assert_eq!(other.read(PORT), None, "a claim is not a lease");
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
    let claim = try_claim(&other, PORT, second, Slot::requested(Depth::Bound, false)).unwrap();
    assert!(!claim.reclaimed());
    assert_eq!(listed(), State::Trying, "the listener stays listed");
    other.withdraw(claim);
    assert_eq!(listed(), State::Listening);
}

#[test]
fn listener_stays_listed_when_a_claiming_process_is_killed() {
    let env = Env::new();
    let ((one, first), (killed, second)) = (env.session(1), env.session(2));
    let slot = lease(&one, first, "api");
    one.leave_to_listener(PORT, slot, 77).unwrap();
    try_claim(&killed, PORT, second, requested()).unwrap();
    drop(killed);
    let (other, third) = env.session(3);
    assert_eq!(other.read(PORT).unwrap().1.inode, 77);
    let claim = try_claim(&other, PORT, third, Slot::requested(Depth::Bound, false)).unwrap();
    let slot = publish(&other, claim, &record("web"));
    assert_eq!((slot.state(), slot.depth(), slot.udp()), (State::Held, Depth::Bound, false));
    assert_eq!(one.read(PORT), Some((slot, record("web"))), "the lease replaces it");
}

#[test]
fn truncated_table_is_detected_before_it_is_accessed() {
    let env = Env::new();
    let (one, _) = env.session(1);
    one.file.set_len(0).unwrap();
    assert!(matches!(one.check(), Err(TableError::Damaged { .. })));
    assert!(matches!(Table::open(env.directory.path()), Err(TableError::Damaged { .. })));
}

#[test]
fn released_lease_cannot_be_left_to_a_listener() {
    let env = Env::new();
    let (one, first) = env.session(1);
    let slot = lease(&one, first, "api");
    assert!(one.release(PORT, slot));
    let left = one.leave_to_listener(PORT, slot, 77);
    assert!(matches!(left, Err(TableError::Damaged { .. })));
}

#[test]
fn removed_table_is_detected() {
    let env = Env::new();
    let (one, _) = env.session(1);
    let other = env.table();
    std::fs::remove_file(&one.path).unwrap();
    let error = one.check().unwrap_err();
    assert!(matches!(error, TableError::Removed { .. }), "{error}");
    assert!(matches!(other.open_session(2), Err(TableError::Removed { .. })));
}

#[test]
fn no_session_begins_while_the_table_is_built() {
    let env = Env::new();
    let (builder, table) = (env.table(), env.table());
    assert!(lock::try_lock(&builder.file, file::INIT_LOCK, Kind::Exclusive).unwrap());
    assert!(!lock::wait(&table.file, file::INIT_LOCK, Kind::Shared, Duration::ZERO).unwrap());
    drop(builder);
    assert!(table.open_session(1).is_ok());
}

#[test]
fn exactly_one_of_many_concurrent_claims_succeeds() {
    let env = Arc::new(Env::new());
    let granted = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(std::sync::Barrier::new(8));
    let threads = (0..8).map(|seed| {
        let (env, granted, start) = (env.clone(), granted.clone(), start.clone());
        std::thread::spawn(move || {
            let (table, session) = env.session(seed);
            start.wait();
            for port in 20_000..21_000 {
                granted.fetch_add(
                    try_claim(&table, port, session, requested()).is_ok().into(),
                    SeqCst,
                );
            }
            // No session ends before all threads have tried.
            start.wait();
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(granted.load(SeqCst), 1000);
}

#[test]
fn reader_never_sees_parts_of_two_records() {
    let env = Env::new();
    let (one, first) = env.session(1);
    let reader = env.table();
    let done = Arc::new(AtomicUsize::new(0));
    let ended = done.clone();
    let reads = std::thread::spawn(move || {
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
        let claim = try_claim(&one, PORT, first, requested()).unwrap();
        let slot = publish(&one, claim, &record);
        assert!(one.release(PORT, slot));
    }
    done.store(1, SeqCst);
    reads.join().unwrap();
}

#[test]
fn quota_lock_is_exclusive_and_is_not_inherited() {
    let env = Env::new();
    let (one, other) = (env.table(), env.table());
    let lock = one.try_lock_quota().unwrap().unwrap();
    assert!(other.try_lock_quota().unwrap().is_none());
    let _child = one.share_session(SessionId { index: 1, epoch: 1 }).unwrap();
    drop(lock);
    other.lock_quota().unwrap();
}

#[test]
fn scan_counts_leases_and_claims_up_to_its_beginning() {
    let env = Env::new();
    let ((one, first), (other, second)) = (env.session(1), env.session(2));
    lease(&one, first, "api");
    let claim = try_claim(&other, PORT + 1, second, requested()).unwrap();
    other.take_ticket(&claim);
    let key = key(&record("api"));
    let allows = |limit| {
        let quota = Quota { per_service: Some(limit), per_user: None };
        other.scan_leases().allows_scanned_claim(key, quota)
    };
    assert!(allows(2) && !allows(1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn every_content_of_slot_and_record_is_usable(slot: u64, epoch: u64, words in prop::collection::vec(any::<u64>(), record::WORDS)) {
        let env = Env::new();
        let (table, session) = env.session(1);
        table.slot_protocol(PORT).slot.store(slot, Release);
        let index = Slot::from_word(slot).session().index;
        if index != session.index {
            table.epoch(index).store(epoch, Release);
        }
        for (word, number) in table.record_words(PORT).iter().zip(words) {
            word.store(number, Relaxed);
        }
        table.read(PORT);
        // No byte but that of this session is locked, so no other slot is held.
        prop_assume!(Slot::from_word(slot).session() != session);
        let claim = try_claim(&table, PORT, session, requested()).unwrap();
        let slot = publish(&table, claim, &record("api"));
        prop_assert_eq!(table.read(PORT), Some((slot, record("api"))));
        prop_assert!(table.release(PORT, slot));
    }
}

//! The table of reservations.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use portolan_port_allocator::{Depth, PortAllocator, PortLease};

use crate::breaker::{Damage, PAGE, Snapshot, expect_no_harm};
use crate::support::copy::{Copy, allocator, say, wait};
use crate::support::{World, wish};
use crate::{is_clear, only_file};

/// How many ports there are: enough for all who ask where three are somebody's and one is lost.
const PORTS: u16 = 10;
/// Bytes of pages that hold nothing are damaged in steps of this; a prime, so that each place within
/// a number and a page comes up.
const STEP: usize = 4999;

/// Longer than a table that was just seen to be whole is not looked at again.
const A_MOMENT: Duration = Duration::from_millis(50);

/// A table with leases that are over, for who owned them ended, and with others where there are
/// `owners`.
struct Scene {
    world: World,
    file: PathBuf,
    /// Held for as long as this lasts.
    leases: Vec<PortLease>,
}

impl Scene {
    fn new(owners: &[Depth]) -> Self {
        let world = World::with_ports(PORTS);
        let (living, ended) = (world.allocator(), world.allocator());
        let leases = Self::requests(&living, owners);
        let over = Self::requests(&ended, &[Depth::Bound, Depth::Guarded, Depth::Claimed]);
        over.into_iter().for_each(PortLease::leave_to_children);
        drop(ended);
        let file = only_file(&world.config().runtime_dir.unwrap());
        Self { world, file, leases }
    }

    fn requests(allocator: &PortAllocator, depths: &[Depth]) -> Vec<PortLease> {
        let request = |(index, depth)| wish(&format!("owner-{index}"), depth);
        allocator.request_all(depths.iter().copied().enumerate().map(request)).unwrap()
    }

    fn held(&self) -> Vec<u16> {
        self.leases.iter().map(PortLease::port).collect()
    }

    /// Does each damage, and asserts that the leases are in force as before. Returns the damages after
    /// which no port was granted.
    fn expect_no_harm(&self, damages: &[Damage]) -> Vec<Damage> {
        let before = self.world.allocator().holders();
        assert_eq!(before.len(), self.leases.len());
        let held = self.held();
        let outcomes = expect_no_harm(&self.world, &self.file, damages, &held, false);
        assert_eq!(self.world.allocator().holders(), before);
        outcomes
            .into_iter()
            .filter(|(_, ports)| ports.is_none())
            .map(|(damage, _)| damage)
            .collect()
    }
}

/// Where a table tells what it is: what is there before anybody began a session.
fn header() -> Vec<u64> {
    let world = World::with_ports(PORTS);
    let _allocator = world.allocator();
    let table = Snapshot::of(&only_file(&world.config().runtime_dir.unwrap()));
    table.used_bytes().filter(|(_, byte)| *byte != 0).map(|(offset, _)| offset).collect()
}

/// Every byte of each page in use, and some of the others.
fn bytes(whole: &Snapshot) -> Vec<Damage> {
    let used = whole.used_bytes().flat_map(|(offset, byte)| Damage::all_of_byte(offset, byte));
    let others = (0..whole.length()).step_by(STEP);
    let others = others.map(|offset| Damage::Byte { offset, value: 0xff });
    [Damage::None].into_iter().chain(used).chain(others).collect()
}

/// Every length within the first page and around the beginning of each page in use; of the others
/// some, and some that are too long.
fn lengths(whole: &Snapshot) -> Vec<Damage> {
    let around = whole.used_pages().flat_map(|page| page.saturating_sub(2)..=page + 2);
    let others = (0..whole.length()).step_by(STEP * 64);
    let end = whole.length() - 2..whole.length();
    let longer = [whole.length() + 1, whole.length() + PAGE, whole.length() * 2];
    let all = (0..=PAGE).chain(around).chain(others).chain(end).chain(longer);
    all.map(Damage::Length).collect()
}

#[test]
fn no_byte_makes_a_port_somebody_elses_while_its_owner_lives() {
    let scene = Scene::new(&[Depth::Bound, Depth::Guarded, Depth::Claimed]);
    let damages = bytes(&Snapshot::of(&scene.file));
    let refused = scene.expect_no_harm(&damages);

    let header = header();
    let of_header =
        |damage: &Damage| matches!(damage, Damage::Byte { offset, .. } if header.contains(offset));
    let (of_header, refused): (BTreeSet<Damage>, BTreeSet<Damage>) =
        (damages.into_iter().filter(of_header).collect(), refused.into_iter().collect());
    let worked_with: Vec<_> = of_header.difference(&refused).collect();
    assert!(!of_header.is_empty() && worked_with.is_empty(), "another version: {worked_with:?}");
}

#[test]
fn no_byte_keeps_ports_back_where_nobody_lives() {
    let scene = Scene::new(&[]);
    let damages = bytes(&Snapshot::of(&scene.file));
    assert_eq!(scene.expect_no_harm(&damages), []);
}

#[test]
fn of_a_table_in_use_no_length_but_its_own_is_worked_with() {
    let scene = Scene::new(&[Depth::Bound, Depth::Guarded, Depth::Claimed]);
    let damages = lengths(&Snapshot::of(&scene.file));
    assert_eq!(scene.expect_no_harm(&damages), damages);
}

#[test]
fn a_table_of_any_length_is_made_anew_where_nobody_lives() {
    let scene = Scene::new(&[]);
    let damages = lengths(&Snapshot::of(&scene.file));
    assert_eq!(scene.expect_no_harm(&damages), []);
}

/// What a program is told whose table is cut off while it holds a port.
pub(crate) fn outlive_the_table() {
    let allocator = allocator();
    let lease = allocator.request(wish("veteran", Depth::Guarded)).unwrap();
    say(lease.port());
    wait();
    thread::sleep(A_MOMENT);
    let again = allocator.request(wish("veteran", Depth::Guarded)).unwrap();
    say(again.port());
    say(allocator.request(wish("another", Depth::Guarded)).unwrap_err());
    // Nothing of this touches what is not there any more.
    assert_eq!(allocator.holders(), []);
    assert_eq!(allocator.check(again.port()).holder, None);
    drop((lease, again));
    say("unharmed");
    // Its end without a word is that of a program which is killed.
    wait();
}

#[test]
fn who_holds_a_port_learns_that_the_table_was_cut_off_when_it_asks_for_another() {
    for length in [0, PAGE, 100 * PAGE, 1000 * PAGE] {
        let world = World::with_ports(PORTS);
        let mut veteran = Copy::start(&world, "veteran");
        let port = veteran.hear();
        let file = only_file(&world.config().runtime_dir.unwrap());
        OpenOptions::new().write(true).open(&file).unwrap().set_len(length).unwrap();
        veteran.go_on();
        assert_eq!(veteran.hear(), port, "what it has stays its own");
        let error = veteran.hear();
        assert!(is_clear(&error, &file), "{error}");
        assert_eq!(veteran.hear(), "unharmed");
        veteran.kill();
        let (world, ports) = (world.allocator(), world.ports());
        let lease = world.request(wish("next", Depth::Bound)).unwrap();
        assert!(ports.contains(&lease.port()), "made anew once nobody uses it");
    }
}

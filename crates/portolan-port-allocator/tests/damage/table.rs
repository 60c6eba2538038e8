//! The reservation table.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use portolan_core::Remedy;
use portolan_port_allocator::{Depth, PortAllocator, PortLease};

use crate::breaker::{Damage, PAGE, Snapshot, expect_no_harm};
use crate::support::copy::{Copy, allocator, send, wait};
use crate::support::{TestEnv, request_for};
use crate::{is_clear, only_file};

/// Enough ports for every request if three are leased and one is lost.
const PORTS: u16 = 10;
/// The step in which bytes of empty pages are damaged; a prime, so that every offset within a word and a
/// page occurs.
const STEP: usize = 4999;

/// Longer than the result of a check of the table is cached.
const CHECK_TTL: Duration = Duration::from_millis(50);

/// A table with orphaned leases, and with leases in force for the given owners.
struct Scene {
    env: TestEnv,
    file: PathBuf,
    /// In force as long as this value lives.
    leases: Vec<PortLease>,
}

impl Scene {
    fn new(owners: &[Depth]) -> Self {
        let env = TestEnv::with_ports(PORTS);
        let (living, ended) = (env.allocator(), env.allocator());
        let leases = Self::requests(&living, owners);
        let orphaned = Self::requests(&ended, &[Depth::Bound, Depth::Guarded, Depth::Claimed]);
        orphaned.into_iter().for_each(PortLease::leave_to_children);
        drop(ended);
        let file = only_file(&env.config().runtime_dir.unwrap());
        Self { env, file, leases }
    }

    fn requests(allocator: &PortAllocator, depths: &[Depth]) -> Vec<PortLease> {
        let request = |(index, depth)| request_for(&format!("owner-{index}"), depth);
        allocator.request_all(depths.iter().copied().enumerate().map(request)).unwrap()
    }

    fn held(&self) -> Vec<u16> {
        self.leases.iter().map(PortLease::port).collect()
    }

    /// Applies each damage, and asserts that the leases stay in force. Returns the damages after which no
    /// port was granted.
    fn expect_no_harm(&self, damages: &[Damage]) -> Vec<Damage> {
        let before = self.env.allocator().holders();
        assert_eq!(before.len(), self.leases.len());
        let held = self.held();
        let outcomes = expect_no_harm(&self.env, &self.file, damages, &held, false);
        assert_eq!(self.env.allocator().holders(), before);
        outcomes
            .into_iter()
            .filter(|(_, ports)| ports.is_none())
            .map(|(damage, _)| damage)
            .collect()
    }
}

/// The offsets of the header: the only bytes in use before the first session.
fn header() -> Vec<u64> {
    let env = TestEnv::with_ports(PORTS);
    let _allocator = env.allocator();
    let table = Snapshot::read(&only_file(&env.config().runtime_dir.unwrap()));
    table.used_bytes().filter(|(_, byte)| *byte != 0).map(|(offset, _)| offset).collect()
}

/// Every byte of each page in use, and some other bytes.
fn bytes(whole: &Snapshot) -> Vec<Damage> {
    let used = whole.used_bytes().flat_map(|(offset, byte)| Damage::all_of_byte(offset, byte));
    let others = (0..whole.length()).step_by(STEP);
    let others = others.map(|offset| Damage::Byte { offset, value: 0xff });
    [Damage::None].into_iter().chain(used).chain(others).collect()
}

/// Every length within the first page and around the beginning of each page in use, some other lengths,
/// and some that are too long.
fn lengths(whole: &Snapshot) -> Vec<Damage> {
    let around = whole.used_pages().flat_map(|page| page.saturating_sub(2)..=page + 2);
    let others = (0..whole.length()).step_by(STEP * 64);
    let end = whole.length() - 2..whole.length();
    let longer = [whole.length() + 1, whole.length() + PAGE, whole.length() * 2];
    let all = (0..=PAGE).chain(around).chain(others).chain(end).chain(longer);
    all.map(Damage::Length).collect()
}

/// A claimed lease has no socket, so the table alone protects it ([ADR 0001]).
///
/// [ADR 0001]: ../../../../docs/adr/0001-reservation-table-counters.md
#[test]
fn byte_damage_never_grants_a_bound_or_guarded_port_twice() {
    let scene = Scene::new(&[Depth::Bound, Depth::Guarded]);
    let damages = bytes(&Snapshot::read(&scene.file));
    let refused = scene.expect_no_harm(&damages);

    let header = header();
    let of_header =
        |damage: &Damage| matches!(damage, Damage::Byte { offset, .. } if header.contains(offset));
    let (of_header, refused): (BTreeSet<Damage>, BTreeSet<Damage>) =
        (damages.into_iter().filter(of_header).collect(), refused.into_iter().collect());
    let worked_with: Vec<_> = of_header.difference(&refused).collect();
    assert!(
        !of_header.is_empty() && worked_with.is_empty(),
        "used with another header: {worked_with:?}"
    );
}

#[test]
fn byte_damage_denies_no_port_if_no_session_is_alive() {
    let scene = Scene::new(&[]);
    let damages = bytes(&Snapshot::read(&scene.file));
    assert_eq!(scene.expect_no_harm(&damages), []);
}

#[test]
fn table_in_use_with_another_length_is_refused() {
    let scene = Scene::new(&[Depth::Bound, Depth::Guarded, Depth::Claimed]);
    let damages = lengths(&Snapshot::read(&scene.file));
    assert_eq!(scene.expect_no_harm(&damages), damages);
}

#[test]
fn unused_table_of_any_length_is_rebuilt() {
    let scene = Scene::new(&[]);
    let damages = lengths(&Snapshot::read(&scene.file));
    assert_eq!(scene.expect_no_harm(&damages), []);
}

/// The process whose table is truncated while it holds a port.
pub(crate) fn outlive_the_table() {
    let allocator = allocator();
    let lease = allocator.request(request_for("veteran", Depth::Guarded)).unwrap();
    send(lease.port());
    wait();
    thread::sleep(CHECK_TTL);
    let again = allocator.request(request_for("veteran", Depth::Guarded)).unwrap();
    send(again.port());
    send(allocator.request(request_for("another", Depth::Guarded)).unwrap_err().with_remedy());
    // None of these may access the truncated pages.
    assert_eq!(allocator.holders(), []);
    assert_eq!(allocator.check(again.port()).holder, None);
    drop((lease, again));
    send("unharmed");
    // Waits to be killed.
    wait();
}

#[test]
fn lease_holder_learns_of_a_truncated_table_with_its_next_request() {
    for length in [0, PAGE, 100 * PAGE, 1000 * PAGE] {
        let env = TestEnv::with_ports(PORTS);
        let mut veteran = Copy::start(&env, "veteran");
        let port = veteran.receive();
        let file = only_file(&env.config().runtime_dir.unwrap());
        OpenOptions::new().write(true).open(&file).unwrap().set_len(length).unwrap();
        veteran.advance();
        assert_eq!(veteran.receive(), port, "the lease stays in force");
        let error = veteran.receive();
        assert!(is_clear(&error, &file), "{error}");
        assert_eq!(veteran.receive(), "unharmed");
        veteran.kill();
        let (env, ports) = (env.allocator(), env.ports());
        let lease = env.request(request_for("next", Depth::Bound)).unwrap();
        assert!(ports.contains(&lease.port()), "rebuilt once it is unused");
    }
}

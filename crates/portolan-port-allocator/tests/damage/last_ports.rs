//! The file of sticky ports.

use std::path::PathBuf;

use portolan_port_allocator::{Depth, PortLease};

use crate::ASKING;
use crate::breaker::{Damage, Snapshot, expect_no_harm};
use crate::only_file;
use crate::support::{TestEnv, request_for};

/// Lets each service hold a port that it would not get without sticky ports, and returns the file.
fn sticky_file(env: &TestEnv) -> PathBuf {
    let allocator = env.allocator();
    // So that no service gets its preferred port.
    let first = allocator.request(request_for("first", Depth::Claimed)).unwrap();
    let services = ASKING.iter().rev();
    let leases: Vec<PortLease> = services
        .map(|(name, depth)| allocator.request(request_for(name, *depth)).unwrap())
        .collect();
    drop((first, leases));
    only_file(&env.config().state_dir.unwrap())
}

fn every_damage(whole: &Snapshot) -> Vec<Damage> {
    let bytes = whole.used_bytes().flat_map(|(offset, byte)| Damage::all_of_byte(offset, byte));
    let lengths = (0..=whole.length()).map(Damage::Length);
    [Damage::None].into_iter().chain(lengths).chain(bytes).collect()
}

#[test]
fn every_service_gets_a_free_port_whatever_the_damage() {
    let env = TestEnv::with_ports(8);
    let file = sticky_file(&env);
    // Other services hold two of the sticky ports.
    let others = [env.allocator(), env.allocator()];
    let taken: Vec<PortLease> = others
        .iter()
        .zip([Depth::Claimed, Depth::Guarded])
        .map(|(allocator, depth)| allocator.request(request_for("other", depth)).unwrap())
        .collect();
    let held: Vec<u16> = taken.iter().map(PortLease::port).collect();
    let damages = every_damage(&Snapshot::read(&file));
    let outcomes = expect_no_harm(&env, &file, &damages, &held, true);
    assert!(outcomes.iter().all(|(_, ports)| ports.is_some()), "without it, a port is found too");
}

#[test]
fn undamaged_entries_are_still_used() {
    let env = TestEnv::with_ports(8);
    let file = sticky_file(&env);
    let whole = Snapshot::read(&file);
    let damages: Vec<Damage> = (0..=whole.length()).rev().map(Damage::Length).collect();
    let outcomes = expect_no_harm(&env, &file, &damages, &[], true);
    let ports: Vec<Vec<u16>> = outcomes.into_iter().map(|(_, ports)| ports.unwrap()).collect();
    let all = &ports[0];
    let kept = |ports: &Vec<u16>| ports.iter().zip(all).filter(|(now, then)| now == then).count();
    assert_eq!(kept(all), ASKING.len());
    let first_order: Vec<u16> = (0..).map(|index| env.port(index)).take(ASKING.len()).collect();
    assert_eq!(*ports.last().unwrap(), first_order, "nothing is left");
    let half = &ports[ports.len() / 2];
    assert!(kept(half) > 0 && half != all, "{half:?} of {all:?}");
}

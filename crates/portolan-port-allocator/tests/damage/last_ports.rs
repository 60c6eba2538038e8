//! The file of the ports that services had last time.

use std::path::PathBuf;

use portolan_port_allocator::{Depth, PortLease};

use crate::ASKING;
use crate::breaker::{Damage, Snapshot, expect_no_harm};
use crate::only_file;
use crate::support::{World, wish};

/// Has each service get a port, other ports than it would get without a memory, and returns the file.
fn remembered(world: &World) -> PathBuf {
    let allocator = world.allocator();
    // So that nobody has the port that it would prefer.
    let first = allocator.request(wish("somebody", Depth::Claimed)).unwrap();
    let services = ASKING.iter().rev();
    let leases: Vec<PortLease> =
        services.map(|(name, depth)| allocator.request(wish(name, *depth)).unwrap()).collect();
    drop((first, leases));
    only_file(&world.config().state_dir.unwrap())
}

fn every_damage(whole: &Snapshot) -> Vec<Damage> {
    let bytes = whole.used_bytes().flat_map(|(offset, byte)| Damage::all_of_byte(offset, byte));
    let lengths = (0..=whole.length()).map(Damage::Length);
    [Damage::None].into_iter().chain(lengths).chain(bytes).collect()
}

#[test]
fn whatever_becomes_of_it_every_service_gets_a_port_that_nobody_has() {
    let world = World::with_ports(8);
    let file = remembered(&world);
    // Of the ports that are remembered, two are somebody else's by now.
    let others = [world.allocator(), world.allocator()];
    let taken: Vec<PortLease> = others
        .iter()
        .zip([Depth::Claimed, Depth::Guarded])
        .map(|(allocator, depth)| allocator.request(wish("other", depth)).unwrap())
        .collect();
    let held: Vec<u16> = taken.iter().map(PortLease::port).collect();
    let damages = every_damage(&Snapshot::of(&file));
    let outcomes = expect_no_harm(&world, &file, &damages, &held, true);
    assert!(outcomes.iter().all(|(_, ports)| ports.is_some()), "without it, a port is found too");
}

#[test]
fn what_is_left_of_it_is_still_heeded() {
    let world = World::with_ports(8);
    let file = remembered(&world);
    let whole = Snapshot::of(&file);
    let damages: Vec<Damage> = (0..=whole.length()).rev().map(Damage::Length).collect();
    let outcomes = expect_no_harm(&world, &file, &damages, &[], true);
    let ports: Vec<Vec<u16>> = outcomes.into_iter().map(|(_, ports)| ports.unwrap()).collect();
    let all = &ports[0];
    let kept = |ports: &Vec<u16>| ports.iter().zip(all).filter(|(now, then)| now == then).count();
    assert_eq!(kept(all), ASKING.len());
    let first_order: Vec<u16> = (0..).map(|index| world.port(index)).take(ASKING.len()).collect();
    assert_eq!(*ports.last().unwrap(), first_order, "nothing is left");
    let half = &ports[ports.len() / 2];
    assert!(kept(half) > 0 && half != all, "{half:?} of {all:?}");
}

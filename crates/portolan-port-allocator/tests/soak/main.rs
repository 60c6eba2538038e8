//! Many processes that come and go, some of them killed, and strangers among them: no port is ever
//! somebody else's too, and none is lost.
//!
//! Three environment variables make it as hard as one likes: `PORTOLAN_SOAK_PROCESSES`,
//! `PORTOLAN_SOAK_GRANTS`, and `PORTOLAN_SOAK_SECONDS` after which it ends in any case. What it did is
//! told on stderr (`--nocapture`).

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod child;
mod flight;
mod ground;
mod owner;
mod soak;
mod stranger;
#[path = "../support/mod.rs"]
mod support;
mod worker;

use std::env;
use std::time::{Duration, Instant};

use ground::Figure;
use soak::{Soak, Task};
use support::World;

/// How many ports there are for each owner: as many as they would hold, so that there are too few now
/// and then.
const PORTS_EACH: u16 = 18;
/// How long broken owners have to be found out.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a copy of this program does; nothing where this is the test run itself.
#[test]
fn part() {
    worker::play();
}

#[test]
fn no_port_is_anybody_elses_too_and_none_is_lost() {
    let processes = number("PORTOLAN_SOAK_PROCESSES", 256);
    let task = Task { role: "owner", processes, strangers: 2 + processes / 32 };
    let grants = number("PORTOLAN_SOAK_GRANTS", 100_000) as u64;
    let time = Duration::from_secs(number("PORTOLAN_SOAK_SECONDS", 40) as u64);
    let ports = u16::try_from(processes).unwrap() * PORTS_EACH;
    let mut soak = Soak::start(World::with_many_ports(ports), task);
    let began = Instant::now();
    soak.go_on(began + time, |ground| ground.figure(Figure::Grants) >= grants);
    soak.end();
    soak.tell(began.elapsed());
    for fault in [Figure::Duplicates, Figure::Thefts, Figure::FailedListens, Figure::Errors] {
        assert_eq!(soak.ground.figure(fault), 0, "{fault:?}");
    }
    assert!(soak.ground.figure(Figure::Grants) > 1000, "too few grants to show anything");
    soak.expect_nothing_left();
}

#[test]
fn a_soak_sees_that_allocators_without_a_common_table_grant_ports_twice() {
    expect_fault(Figure::Duplicates, "loner");
}

#[test]
fn a_soak_sees_that_a_port_is_used_beyond_the_end_of_its_session() {
    expect_fault(Figure::Duplicates, "lapsed");
}

#[test]
fn a_soak_sees_that_a_port_is_only_looked_for_and_not_taken() {
    expect_fault(Figure::Duplicates, "hasty");
}

#[test]
fn a_soak_sees_that_a_stranger_gets_a_port_whose_guard_is_gone() {
    expect_fault(Figure::Thefts, "unguarded");
}

/// Breaks the allocator, and sees whether the soak finds that.
fn expect_fault(fault: Figure, role: &'static str) {
    let task = Task { role, processes: 8, strangers: 2 };
    let mut soak = Soak::start(World::with_ports(32), task);
    soak.go_on(Instant::now() + PATIENCE, |ground| ground.figure(fault) > 0);
    assert!(soak.ground.figure(fault) > 0, "eight owners that are {role}, and no fault is seen");
    soak.end();
}

fn number(variable: &str, usual: usize) -> usize {
    env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

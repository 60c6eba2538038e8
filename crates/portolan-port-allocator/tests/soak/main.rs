//! Soak test: many processes that start, end and are killed, with foreign processes among them. No port
//! may have two owners, and none may be lost.
//!
//! Three environment variables set its size: `PORTOLAN_SOAK_PROCESSES`, `PORTOLAN_SOAK_GRANTS`, and
//! `PORTOLAN_SOAK_SECONDS`, after which it ends in any case. A summary is written to stderr
//! (`--nocapture`).

#![allow(clippy::unwrap_used, reason = "only tests are here")]
#![allow(clippy::disallowed_methods, reason = "no async runtime, and processes of its own")]

mod child;
mod foreign;
mod lifecycle;
mod oracle;
mod owner;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod worker;

use std::env;
use std::time::{Duration, Instant};

use oracle::Figure;
use soak::{Soak, Task};
use support::TestEnv;

/// The number of ports for each owner: so few that the pool is sometimes full.
const PORTS_EACH: u16 = 18;
/// How long the soak may take to find a fault.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the role of a copy of this program; does nothing in the test run itself.
#[test]
fn part() {
    worker::run_role();
}

#[test]
fn no_port_has_two_owners_and_none_is_lost() {
    let processes = number("PORTOLAN_SOAK_PROCESSES", 256);
    let task = Task { role: "owner", processes, foreign: 2 + processes / 32 };
    let grants = number("PORTOLAN_SOAK_GRANTS", 100_000) as u64;
    let time = Duration::from_secs(number("PORTOLAN_SOAK_SECONDS", 40) as u64);
    let ports = u16::try_from(processes).unwrap() * PORTS_EACH;
    let mut soak = Soak::start(TestEnv::with_many_ports(ports), task);
    let began = Instant::now();
    soak.advance(began + time, |oracle| oracle.figure(Figure::Grants) >= grants);
    soak.end();
    soak.print_summary(began.elapsed());
    for fault in [Figure::Duplicates, Figure::Takeovers, Figure::FailedListens, Figure::Errors] {
        assert_eq!(soak.oracle.figure(fault), 0, "{fault:?}");
    }
    assert!(soak.oracle.figure(Figure::Grants) > 1000, "too few grants to show anything");
    soak.expect_nothing_left();
}

#[test]
fn soak_detects_allocators_without_a_common_table() {
    expect_fault(Figure::Duplicates, "isolated");
}

#[test]
fn soak_detects_use_of_a_port_after_its_session_ended() {
    expect_fault(Figure::Duplicates, "lapsed");
}

#[test]
fn soak_detects_a_port_that_is_checked_and_bound_later() {
    expect_fault(Figure::Duplicates, "check_then_bind");
}

#[test]
fn soak_detects_a_foreign_process_on_a_port_without_its_guard() {
    expect_fault(Figure::Takeovers, "unguarded");
}

/// Asserts that the soak finds the fault of a role.
fn expect_fault(fault: Figure, role: &'static str) {
    let task = Task { role, processes: 8, foreign: 2 };
    let mut soak = Soak::start(TestEnv::with_ports(32), task);
    soak.advance(Instant::now() + TIMEOUT, |oracle| oracle.figure(fault) > 0);
    assert!(soak.oracle.figure(fault) > 0, "the fault of {role} was not found");
    soak.end();
}

fn number(variable: &str, usual: usize) -> usize {
    env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

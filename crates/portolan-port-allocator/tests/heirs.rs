//! Leases of a killed owner: they end, unless a child process inherited their descriptors.
//!
//! Owners and children are copies of this program.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::Child;

use portolan_core::PortRange;
use portolan_port_allocator::{
    AllocatorError, Depth, PortAllocator, PortLease, PortRequest, PortState, RejectionReason,
};
use rustix::process::{Pid, Signal, kill_process};
use support::copy::{self, Copy, allocator, argument, send, wait, wait_for_the_end_of};
use support::{TestEnv, request_for};

const DEPTHS: [Depth; 3] = [Depth::Bound, Depth::Guarded, Depth::Claimed];
/// The number of ports of an owner: two of each depth.
const PORTS: u16 = 6;

/// Runs the role of a copy; does nothing in the test run itself.
#[test]
fn child() {
    match copy::role().as_deref() {
        Some("owner") => {
            let _leases = take_all(&allocator());
            send("ready");
            while wait() {}
        }
        Some("forefather") => start_grandchild(),
        Some("parent") => {
            let mut child = start("sitter", "");
            // Both in one process: two that share a pipe may write in any order.
            send(std::process::id());
            send(child.id());
            child.wait().unwrap();
        }
        Some("sitter") => while wait() {},
        Some("parent of a leaver") => start_leaver(),
        Some("leaver") => leave_and_listen(),
        Some(role) => panic!("no role {role}"),
        None => {}
    }
}

/// Leases every port of the environment, two at each depth, in one session.
fn take_all(allocator: &PortAllocator) -> Vec<PortLease> {
    let depths = DEPTHS.iter().cycle().take(PORTS.into());
    let request =
        |(index, depth): (usize, &Depth)| request_for(&format!("service-{index}"), *depth);
    allocator.request_all(depths.enumerate().map(request)).unwrap()
}

fn start(role: &str, argument: &str) -> Child {
    copy::command(role, argument).spawn().unwrap()
}

fn start_grandchild() {
    let leases = take_all(&allocator());
    leases.iter().for_each(copy::make_inheritable);
    start("parent", "").wait().unwrap();
}

fn start_leaver() {
    let depth: Depth = argument().parse().unwrap();
    let lease = allocator().request(request_for("leaver", depth)).unwrap();
    copy::make_inheritable(&lease);
    let mut child = start("leaver", &lease.port().to_string());
    child.wait().unwrap();
}

/// Closes all inherited descriptors and binds its port by number, as many daemons do.
fn leave_and_listen() {
    let open = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name());
    let open: Vec<i32> = open.map(|name| name.to_str().unwrap().parse().unwrap()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The descriptor with which they were listed is closed already.
        _ = nix::unistd::close(descriptor);
    }
    let port: u16 = argument().parse().unwrap();
    let _server = TcpListener::bind(("127.0.0.1", port)).unwrap();
    send(std::process::id());
    while wait() {}
}

/// Asserts that a new session gets every port, at each depth.
fn expect_all_to_be_free(env: &TestEnv) {
    assert_eq!(env.allocator().holders(), []);
    let leases = take_all(&env.allocator());
    let ports: BTreeSet<u16> = leases.iter().map(PortLease::port).collect();
    assert!(ports.into_iter().eq(env.ports()));
}

fn only(port: u16, depth: Depth) -> PortRequest {
    PortRequest::new("next".parse().unwrap())
        .range(PortRange::new(port, port).unwrap())
        .depth(depth)
}

fn refusal(error: AllocatorError) -> RejectionReason {
    match error {
        AllocatorError::NoPortsAvailable { candidates, .. } => candidates[0].reason.clone(),
        other => panic!("not about ports: {other}"),
    }
}

#[test]
fn ports_of_killed_owner_are_free_at_every_depth() {
    let env = TestEnv::with_ports(PORTS);
    for _ in 0..10 {
        let mut owner = Copy::start(&env, "owner");
        assert_eq!(owner.receive(), "ready");
        let held = env.allocator().holders();
        assert_eq!(held.len(), usize::from(PORTS));
        assert!(held.iter().all(|holder| holder.pid == owner.process.id()));
        owner.kill();
        expect_all_to_be_free(&env);
    }
}

#[test]
fn grandchild_that_inherits_leases_keeps_every_port() {
    let env = TestEnv::with_ports(PORTS);
    let mut owner = Copy::start(&env, "forefather");
    let (child, grandchild) = (owner.receive(), owner.receive());
    // The grandchild waits until this pipe is closed.
    let pipe = owner.process.stdin.take().unwrap();
    owner.kill();
    kill_process(Pid::from_raw(child.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    wait_for_the_end_of(&child);

    for depth in DEPTHS {
        let error = env.allocator().request(request_for("other", depth)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("which has ended and left it to a child"), "{text}");
        assert!(matches!(refusal(error), RejectionReason::Leased(holder) if !holder.alive));
    }
    drop(pipe);
    wait_for_the_end_of(&grandchild);
    expect_all_to_be_free(&env);
}

#[test]
fn child_that_closes_inherited_descriptors_keeps_port_by_listening() {
    for depth in [Depth::Guarded, Depth::Claimed] {
        let env = TestEnv::with_ports(2);
        let mut owner = Copy::start_with(&env, "parent of a leaver", depth);
        let leaver = owner.receive();
        let allocator = env.allocator();
        assert_eq!(allocator.check(env.port(0)).state, PortState::Leased, "its owner is alive");
        let pipe = owner.process.stdin.take().unwrap();
        owner.kill();
        assert_eq!(allocator.holders(), [], "the lease has ended");

        for depth in DEPTHS {
            let next = env.allocator().request(request_for("next", depth)).unwrap();
            assert_eq!(next.port(), env.port(1), "{depth}: the next port");
            let error = env.allocator().request(only(env.port(0), depth)).unwrap_err();
            let RejectionReason::ForeignProcess(foreign) = refusal(error) else {
                panic!("{depth}")
            };
            assert_eq!(foreign.process.unwrap().pid.to_string(), leaver);
            assert!(foreign.listening);
        }
        drop(pipe);
        wait_for_the_end_of(&leaver);
        let lease = env.allocator().request(only(env.port(0), depth)).unwrap();
        assert_eq!(lease.port(), env.port(0), "its listener has ended");
    }
}

//! Port allocation by many processes, some of them killed.
//!
//! Each test starts copies of this program, which run its test `child` and communicate over pipes.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

use portolan_port_allocator::{Depth, PortAllocator, PortLease};
use support::copy::{self, Copy, allocator, config, send, wait, wait_for_the_end_of};
use support::{TestEnv, request_for};

/// The directory, in that of the environment, with one file per granted port.
const GRANTS: &str = "grants";
/// Runs the role of a copy; does nothing in the test run itself.
#[test]
fn child() {
    match copy::role().as_deref() {
        Some("contender") => contend(),
        Some("owner") => own(),
        Some("parent") => own_with_a_child(),
        Some("sitter") => while wait() {},
        Some("busy") => be_busy(),
        Some("soaker") => soak(),
        Some(role) => panic!("no role {role}"),
        None => {}
    }
}

fn contend() {
    let allocator = allocator();
    send("ready");
    wait();
    let outcome = allocator.request(request_for("postgres", Depth::Guarded));
    match &outcome {
        Ok(lease) => send(lease.port()),
        Err(error) => send(error.to_string().replace('\n', " | ")),
    }
    if !wait() {
        return;
    }
    // By number, as a server does that does not use Portolan.
    let lease = outcome.unwrap();
    let server = TcpListener::bind(("127.0.0.1", lease.port()));
    send(server.is_ok());
    wait();
}

fn own() {
    let lease = allocator().request(request_for("postgres", Depth::Guarded)).unwrap();
    send(lease.port());
    while wait() {}
}

fn own_with_a_child() {
    let lease = allocator().request(request_for("postgres", Depth::Guarded)).unwrap();
    copy::make_inheritable(&lease);
    let mut sitter = copy::command("sitter", "").stdout(Stdio::null()).spawn().unwrap();
    send(format!("{} {}", lease.port(), sitter.id()));
    sitter.wait().unwrap();
}

fn be_busy() {
    let allocator = allocator();
    send("ready");
    loop {
        let leases: Vec<PortLease> = ["a", "b", "c"]
            .into_iter()
            .zip([Depth::Bound, Depth::Guarded, Depth::Claimed])
            .filter_map(|(service, depth)| allocator.request(request_for(service, depth)).ok())
            .collect();
        drop(leases);
    }
}

/// Requests and releases ports, with one file per port while it is leased: if the file exists already,
/// the port was granted twice.
fn soak() {
    let allocator = allocator();
    let folder = config().runtime_dir.unwrap().with_file_name(GRANTS);
    let mut granted = 0;
    for round in 0..400 {
        let depth = [Depth::Bound, Depth::Guarded, Depth::Claimed][round % 3];
        let Ok(lease) = allocator.request(request_for("soaker", depth)) else { continue };
        let mark = folder.join(lease.port().to_string());
        let marked = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&mark);
        assert!(marked.is_ok(), "port {} was granted twice", lease.port());
        granted += 1;
        fs::remove_file(&mark).unwrap();
    }
    send(granted);
}

#[test]
fn sixty_four_processes_are_granted_every_port_once() {
    let env = TestEnv::with_ports(11);
    let mut contenders: Vec<Copy> = (0..64).map(|_| Copy::start(&env, "contender")).collect();
    contenders.iter_mut().for_each(|copy| assert_eq!(copy.receive(), "ready"));
    contenders.iter_mut().for_each(Copy::advance);
    let answers: Vec<String> = contenders.iter_mut().map(Copy::receive).collect();
    let granted: Vec<u16> = answers.iter().filter_map(|answer| answer.parse().ok()).collect();
    let different: BTreeSet<u16> = granted.iter().copied().collect();
    assert_eq!(granted.len(), 11, "{answers:?}");
    assert!(different.into_iter().eq(env.ports()));

    let holders: Vec<String> = contenders
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.parse::<u16>().is_ok())
        .map(|(copy, port)| {
            format!("{port} is held by postgres (scope default, pid {}", copy.process.id())
        })
        .collect();
    for (copy, answer) in contenders.iter_mut().zip(&answers) {
        if answer.parse::<u16>().is_ok() {
            copy.advance();
            assert_eq!(copy.receive(), "true", "the port {answer} could not be bound");
        } else {
            let missing = holders.iter().find(|holder| !answer.contains(*holder));
            assert_eq!(missing, None, "not named in {answer}");
        }
    }
}

#[test]
fn port_of_killed_process_is_free() {
    let env = TestEnv::with_ports(2);
    let mut owner = Copy::start(&env, "owner");
    assert_eq!(owner.receive_port(), env.port(0));
    let allocator = env.allocator();
    let holders = allocator.holders();
    assert_eq!(holders[0].pid, owner.process.id());
    assert!(holders[0].alive);
    owner.kill();
    assert_eq!(allocator.holders(), []);
    let lease = allocator.request(request_for("redis", Depth::Bound)).unwrap();
    assert_eq!(lease.port(), env.port(0));
}

#[test]
fn child_that_outlives_owner_keeps_lease() {
    let env = TestEnv::with_ports(2);
    let mut owner = Copy::start(&env, "parent");
    let said = owner.receive();
    let (port, sitter) = said.split_once(' ').unwrap();
    assert_eq!(port.parse(), Ok(env.port(0)));
    // The child waits until this pipe is closed.
    let pipe = owner.process.stdin.take().unwrap();
    owner.kill();

    let allocator = env.allocator();
    let holders = allocator.holders();
    assert_eq!(holders.len(), 1);
    assert!(!holders[0].alive, "the owner has ended");
    let other = allocator.request(request_for("redis", Depth::Claimed)).unwrap();
    assert_eq!(other.port(), env.port(1));
    other.release();

    drop(pipe);
    wait_for_the_end_of(sitter);
    assert_eq!(allocator.holders(), []);
    let lease = allocator.request(request_for("postgres", Depth::Bound)).unwrap();
    assert_eq!(lease.port(), env.port(0));
}

#[test]
fn killed_processes_leave_no_lease() {
    let env = TestEnv::with_ports(4);
    for _ in 0..25 {
        let mut busy = Copy::start(&env, "busy");
        busy.receive();
        busy.kill();
        let allocators: Vec<PortAllocator> = (0..4).map(|_| env.allocator()).collect();
        let leases: Vec<PortLease> = allocators
            .iter()
            .map(|allocator| allocator.request(request_for("after", Depth::Guarded)).unwrap())
            .collect();
        let ports: BTreeSet<u16> = leases.iter().map(PortLease::port).collect();
        assert!(ports.into_iter().eq(env.ports()));
    }
    assert_eq!(env.allocator().holders(), []);
}

#[test]
fn concurrent_processes_never_share_a_port() {
    let env = TestEnv::with_ports(5);
    fs::create_dir(env.folder.path().join(GRANTS)).unwrap();
    let mut soakers: Vec<Copy> = (0..8).map(|_| Copy::start(&env, "soaker")).collect();
    let granted: u32 = soakers.iter_mut().map(|copy| copy.receive().parse::<u32>().unwrap()).sum();
    assert!(granted > 1000, "expected more than 1000 grants, got {granted}");
    soakers.into_iter().for_each(Copy::end);
    assert_eq!(env.allocator().holders(), []);
}

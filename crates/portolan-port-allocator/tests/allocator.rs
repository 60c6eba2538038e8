//! The public interface of the port allocator. No test here starts a process, because a process has
//! copies of its parent's sockets between fork(2) and execve(2).

#![allow(clippy::unwrap_used, reason = "only tests are here")]
#![allow(clippy::disallowed_methods, reason = "no async runtime, and processes of its own")]

mod support;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use portolan_core::{PortRange, Remedy, Scope, ServiceName};
use portolan_metrics::Metrics;
use portolan_port_allocator::{
    AllocatorError, BindAddress, Depth, PortAllocator, PortAllocatorConfig, PortLease, PortRequest,
    PortState, RejectionReason, TableError,
};
use support::{POOL, TestEnv, request_for};

const DEPTHS: [Depth; 3] = [Depth::Bound, Depth::Guarded, Depth::Claimed];

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn refusals(error: AllocatorError) -> Vec<(u16, RejectionReason)> {
    match error {
        AllocatorError::NoPortsAvailable { candidates, .. } => {
            candidates.into_iter().map(|refusal| (refusal.port, refusal.reason)).collect()
        }
        other => panic!("not about ports: {other}"),
    }
}

#[test]
fn second_service_gets_next_port() {
    for depth in DEPTHS {
        let env = TestEnv::with_ports(4);
        let allocator = env.allocator();
        let one = allocator.request(request_for("postgres-1", depth)).unwrap();
        let two = allocator.request(request_for("postgres-2", depth)).unwrap();
        assert_eq!((one.port(), two.port()), (env.port(0), env.port(1)));
        assert_eq!((one.depth(), one.service().as_str()), (depth, "postgres-1"));
    }
}

#[test]
fn repeated_request_returns_same_lease() {
    let env = TestEnv::with_ports(4);
    let allocator = env.allocator();
    let first = allocator.request(request_for("api", Depth::Guarded)).unwrap();
    let again = allocator.clone().request(request_for("api", Depth::Bound)).unwrap();
    assert_eq!((again.port(), again.depth()), (first.port(), Depth::Guarded));
    first.release();
    assert_eq!(env.allocator().holders().len(), 1, "the other handle keeps it");
    drop(again);
    assert_eq!(env.allocator().holders(), []);
}

#[test]
fn other_scope_or_session_gets_own_port() {
    let env = TestEnv::with_ports(4);
    let allocator = env.allocator();
    let ours = allocator.request(request_for("api", Depth::Bound)).unwrap();
    let scoped = request_for("api", Depth::Bound).scope("shop".parse().unwrap());
    let scoped = allocator.request(scoped).unwrap();
    let theirs = env.allocator();
    let theirs = theirs.request(request_for("api", Depth::Bound)).unwrap();
    let ports = HashSet::from([ours.port(), scoped.port(), theirs.port()]);
    assert_eq!(ports.len(), 3);
}

#[test]
fn released_port_is_granted_again() {
    for depth in DEPTHS {
        let env = TestEnv::with_ports(2);
        let (one, other) = (env.allocator(), env.allocator());
        for round in 0..100 {
            let lease = one.request(request_for("api", depth)).unwrap();
            assert_eq!(lease.port(), env.port(0), "{depth}, round {round}");
            lease.release();
            let lease = other.request(request_for("web", depth)).unwrap();
            assert_eq!(lease.port(), env.port(0), "{depth}, round {round}");
        }
    }
}

#[test]
fn sticky_port_precedes_preferred_port() {
    let env = TestEnv::with_ports(4);
    let foreign = TcpListener::bind(("127.0.0.1", env.port(0))).unwrap();
    assert_eq!(
        env.allocator().request(request_for("api", Depth::Bound)).unwrap().port(),
        env.port(1)
    );
    drop(foreign);
    let port = |allocator: PortAllocator, request| allocator.request(request).unwrap().port();
    assert_eq!(port(env.allocator(), request_for("api", Depth::Bound)), env.port(1));
    let elsewhere = request_for("api", Depth::Bound).folder("/elsewhere".into());
    assert_eq!(port(env.allocator(), elsewhere), env.port(0), "another folder");
    let now_prefers = request_for("api", Depth::Bound).preferred(env.port(2));
    assert_eq!(port(env.allocator(), now_prefers), env.port(2), "another preference");
    let off = PortAllocatorConfig { sticky: false, ..env.config() };
    let off = PortAllocator::new(off).unwrap();
    assert_eq!(port(off, request_for("api", Depth::Bound)), env.port(0), "sticky ports are off");
}

#[test]
fn failed_request_names_reason_for_each_candidate() {
    let env = TestEnv::with_ports(5);
    let reserved = PortAllocatorConfig { reserved_ports: vec![env.port(4)], ..env.config() };
    let allocator = PortAllocator::new(reserved).unwrap();
    let scope: Scope = "shop".parse().unwrap();
    let one = request_for("postgres-1", Depth::Claimed).scope(scope.clone());
    let _one = allocator.request(one).unwrap();
    let _two = env.allocator().request(request_for("postgres-2", Depth::Guarded)).unwrap();
    let three = env.allocator().request(request_for("postgres-3", Depth::Bound)).unwrap();
    let _three = three.into_listener().unwrap();
    let _foreign = UdpSocket::bind(("127.0.0.1", env.port(3))).unwrap();

    let error = allocator.request(request_for("postgres-4", Depth::Bound).udp(true)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("no port available for postgres-4 in {}", env.range())));
    let remedy = error.remedy().unwrap();
    assert!(remedy.ends_with("set port_allocator.allow_ephemeral"), "{remedy}");
    let refusals = refusals(error);
    assert_eq!(refusals.iter().map(|(port, _)| *port).collect::<Vec<_>>(), env.ports());
    for (index, (port, reason)) in refusals.iter().enumerate() {
        match (index, reason) {
            (0..=2, RejectionReason::Leased(holder)) => {
                assert_eq!(holder.service.as_str(), format!("postgres-{}", index + 1));
                assert_eq!(holder.pid, std::process::id());
                let line = format!("{port} is held by {} (scope {}", holder.service, holder.scope);
                assert!(text.contains(&line), "{text}");
            }
            (3, RejectionReason::ForeignProcess(foreign)) => {
                assert_eq!(foreign.process.as_ref().unwrap().pid, std::process::id());
            }
            (4, RejectionReason::Reserved) => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[test]
fn bound_foreign_socket_without_listener_is_detected() {
    let env = TestEnv::with_ports(2);
    let (one, _two) = (env.allocator(), env.allocator());
    let guards: Vec<_> = env
        .ports()
        .into_iter()
        .map(|port| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
            socket
        })
        .collect();
    for depth in DEPTHS {
        let error = one.request(request_for("api", depth)).unwrap_err();
        // Linux lists sockets that are only bound since 6.8.
        let error = error.to_string();
        let own = format!("(pid {},", std::process::id());
        let is_unnamed = error.contains("used by a process that the system does not name");
        assert!(is_unnamed || error.contains(&own), "{error}");
    }
    drop(guards);
    assert!(one.request(request_for("api", Depth::Bound)).is_ok());
}

#[test]
fn foreign_process_on_preferred_port_is_counted_as_conflict() {
    let env = TestEnv::with_ports(3);
    let metrics = Metrics::new();
    let allocator = env.allocator().with_metrics(metrics.clone());
    let preset = format!("discovery_ports_allocated_total{{service_type=\"{POOL}\"}} 0");
    assert!(metrics.encode().contains(&preset));
    let _foreign = TcpListener::bind(("127.0.0.1", env.port(0))).unwrap();
    let lease = allocator.request(request_for("api", Depth::Bound)).unwrap();
    assert_eq!(lease.port(), env.port(1));
    lease.release();
    let text = metrics.encode();
    for family in ["ports_allocated", "port_conflicts", "ports_released"] {
        let line = format!("discovery_{family}_total{{service_type=\"{POOL}\"}} 1");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

#[test]
fn ephemeral_ports_are_tried_last_and_only_if_allowed() {
    let env = TestEnv::with_ports(2);
    let holders = [env.allocator(), env.allocator()];
    let _held: Vec<_> =
        holders.iter().map(|a| a.request(request_for("api", Depth::Claimed)).unwrap()).collect();
    let allocator = env.allocator();
    assert!(allocator.request(request_for("web", Depth::Bound)).is_err());
    let lease = allocator.request(request_for("web", Depth::Bound).allow_ephemeral(true)).unwrap();
    assert!(!env.ports().contains(&lease.port()));
    let open = PortAllocatorConfig { allow_ephemeral: true, ..env.config() };
    let open = PortAllocator::new(open).unwrap();
    let other = open.request(PortRequest::new(name("anything"))).unwrap();
    assert_ne!(other.port(), lease.port());
}

#[test]
fn listener_keeps_lease_until_closed() {
    let env = TestEnv::with_ports(2);
    let listener = env.allocator().request(request_for("api", Depth::Bound)).unwrap();
    let listener = listener.into_listener().unwrap();
    assert_eq!(listener.local_addr().unwrap().port(), env.port(0));
    TcpStream::connect(("127.0.0.1", env.port(0))).unwrap();

    let view = env.allocator();
    let holder = &view.holders()[0];
    assert_eq!((holder.port, holder.service.as_str()), (env.port(0), "api"));
    assert_eq!(view.port_for_service(&name("api"), &Scope::default()), Some(env.port(0)));
    let next = view.request(request_for("web", Depth::Guarded)).unwrap();
    assert_eq!(next.port(), env.port(1), "the listener has the first port");
    assert_eq!(view.holders().len(), 2, "the listener is still listed");

    drop((listener, next));
    assert_eq!(view.holders(), []);
    assert_eq!(view.request(request_for("api", Depth::Bound)).unwrap().port(), env.port(0));
}

#[test]
fn request_while_listening_gets_another_port() {
    let env = TestEnv::with_ports(3);
    let allocator = env.allocator();
    let _listener =
        allocator.request(request_for("api", Depth::Bound)).unwrap().into_listener().unwrap();
    assert_eq!(allocator.request(request_for("api", Depth::Bound)).unwrap().port(), env.port(1));
}

#[test]
fn lease_of_any_depth_becomes_listener() {
    for depth in DEPTHS {
        let env = TestEnv::with_ports(2);
        let request = request_for("api", depth).address(BindAddress::LOOPBACK);
        let listener = env.allocator().request(request).unwrap().into_listener().unwrap();
        assert_eq!(
            listener.local_addr().unwrap().to_string(),
            format!("127.0.0.1:{}", env.port(0))
        );
    }
}

#[test]
fn listen_on_port_taken_since_grant_fails() {
    let env = TestEnv::with_ports(2);
    let lease = env.allocator().request(request_for("api", Depth::Claimed)).unwrap();
    let _foreign = TcpListener::bind(("127.0.0.1", lease.port())).unwrap();
    let error = lease.into_listener().unwrap_err();
    assert!(matches!(error, AllocatorError::Listen { port, .. } if port == env.port(0)));
}

#[test]
fn guard_excludes_foreign_binds_until_released() {
    let env = TestEnv::with_ports(2);
    let mut lease = env.allocator().request(request_for("db", Depth::Guarded)).unwrap();
    let without_reuse =
        || UdpSocket::bind(("127.0.0.1", 0)).and_then(|_| bind_plain(lease_port(&env)));
    assert!(without_reuse().is_err());
    assert_eq!(lease.socket_fds().len(), 1);
    lease.let_go_of_guard();
    assert_eq!(lease.socket_fds().len(), 0);
    assert!(without_reuse().is_ok());
    let other = env.allocator().request(request_for("web", Depth::Guarded)).unwrap();
    assert_eq!(other.port(), env.port(1), "the reservation remains");
}

#[test]
fn guarded_lease_keeps_guard_while_another_handle_is_dropped() {
    let env = TestEnv::with_ports(3);
    let allocator = env.allocator();
    let take_turns = || {
        for _ in 0..1_000 {
            let lease = allocator.request(request_for("db", Depth::Guarded)).unwrap();
            assert_eq!(lease.socket_fds().len(), 1, "the guard");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(take_turns);
        scope.spawn(take_turns);
    });
}

fn lease_port(env: &TestEnv) -> u16 {
    env.port(0)
}

fn bind_plain(port: u16) -> std::io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    Ok(socket)
}

#[test]
fn lease_descriptors_are_close_on_exec() {
    let env = TestEnv::with_ports(2);
    let request = request_for("db", Depth::Bound).address(BindAddress::LOOPBACK).udp(true);
    let lease = env.allocator().request(request).unwrap();
    let (share, descriptors) = (lease.share_session().unwrap(), lease.socket_fds());
    assert_eq!(descriptors.len(), 3, "guard, listener, datagrams");
    for descriptor in descriptors.into_iter().chain([share.as_fd()]) {
        let flags = rustix::io::fcntl_getfd(descriptor).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "{}", descriptor.as_raw_fd());
    }
}

#[test]
fn lease_left_to_children_lasts_as_long_as_their_share() {
    let env = TestEnv::with_ports(2);
    let allocator = env.allocator();
    let lease = allocator.request(request_for("db", Depth::Guarded)).unwrap();
    let inherited = lease.share_session().unwrap();
    lease.leave_to_children();
    drop(allocator);
    let view = env.allocator();
    assert_eq!(view.holders()[0].service, name("db"));
    drop(inherited);
    assert_eq!(view.holders(), []);
}

#[test]
fn udp_request_gets_port_free_in_tcp_and_udp() {
    let env = TestEnv::with_ports(3);
    let _foreign = UdpSocket::bind(("127.0.0.1", env.port(0))).unwrap();
    let lease = env.allocator().request(request_for("dns", Depth::Bound).udp(true)).unwrap();
    assert_eq!(lease.port(), env.port(1));
    let socket = lease.udp_socket().unwrap().unwrap();
    assert_eq!(socket.local_addr().unwrap().port(), lease.port());
    assert_eq!(env.allocator().holders()[0].protocol.as_str(), "tcp+udp");
    let tcp = env.allocator().request(request_for("web", Depth::Bound)).unwrap();
    assert_eq!((tcp.port(), tcp.udp_socket().unwrap().is_none()), (env.port(0), true));
}

#[test]
fn invalid_request_fails_and_leaves_no_lease() {
    let env = TestEnv::with_ports(3);
    let allocator = env.allocator();
    let wrong = |result: Result<_, AllocatorError>| result.map(drop).unwrap_err();
    assert!(matches!(wrong(allocator.allocate("", 8080)), AllocatorError::Name(_)));
    assert!(matches!(wrong(allocator.allocate("x", 0)), AllocatorError::PreferredZero { .. }));
    for (start, end) in [(0, 5), (9, 5)] {
        let error = wrong(allocator.allocate_in_range("x", start, end));
        assert!(matches!(error, AllocatorError::Range(_)));
    }
    let elsewhere = BindAddress::Ip([192, 0, 2, 1].into());
    let error = wrong(allocator.request(request_for("x", Depth::Bound).address(elsewhere)));
    assert!(matches!(error, AllocatorError::AddressNotHere { .. }), "{error}");
    assert_eq!(allocator.holders(), [], "no lease remains");
    let off = PortAllocatorConfig { enabled: false, ..env.config() };
    let off = PortAllocator::new(off).unwrap();
    assert!(matches!(wrong(off.allocate("x", 8080)), AllocatorError::Disabled));
}

#[test]
fn request_in_range_without_held_port_fails() {
    let env = TestEnv::with_ports(4);
    let allocator = env.allocator();
    let held = allocator.allocate_in_range("api", env.port(0), env.port(1)).unwrap();
    let error = allocator.allocate_in_range("api", env.port(2), env.port(3)).unwrap_err();
    assert!(matches!(error, AllocatorError::HeldElsewhere { port, .. } if port == held.port()));
    drop(held);
    let now = allocator.allocate_in_range("api", env.port(2), env.port(3)).unwrap();
    assert_eq!(now.port(), env.port(2));
}

#[test]
fn port_report_states_why_port_is_unavailable() {
    let env = TestEnv::with_ports(5);
    let config = PortAllocatorConfig {
        reserved_ports: vec![env.port(3)],
        restrict_to_ranges: true,
        ..env.config()
    };
    let allocator = PortAllocator::new(config).unwrap();
    let lease = allocator.request(request_for("db", Depth::Guarded)).unwrap();
    let _server = TcpListener::bind(("127.0.0.1", lease.port())).unwrap();
    let _foreign = TcpListener::bind(("127.0.0.1", env.port(1))).unwrap();
    let outside = PortRange::new(env.port(5), env.port(5)).unwrap().start();
    for (port, state, text) in [
        (env.port(0), PortState::Leased, "is leased to db (scope default"),
        (env.port(1), PortState::Taken, "without a lease; end it, or use another port"),
        (env.port(2), PortState::Free, "is free (pool mine)"),
        (env.port(3), PortState::Reserved, "is never granted"),
        (outside, PortState::Outside, "is free, but in no pool"),
        (0, PortState::Outside, "port 0"),
    ] {
        let report = allocator.check(port);
        assert_eq!(report.state, state, "{report}");
        assert!(report.to_string().contains(text), "{report}");
        assert_eq!(allocator.is_available(port), state == PortState::Free);
        let occupied = matches!(state, PortState::Leased | PortState::Taken);
        assert_eq!(report.bound_by.is_some(), occupied, "{report:?}");
    }
    let report = env.allocator().check(outside);
    assert_eq!(report.to_string(), format!("port {outside} is free (in no pool)"));
    let json = serde_json::to_value(allocator.check(lease.port())).unwrap();
    assert_eq!(
        (json["state"].as_str(), json["holder"]["service"].as_str()),
        (Some("leased"), Some("db"))
    );
}

#[test]
fn port_used_only_in_udp_is_available_for_tcp() {
    let env = TestEnv::with_ports(2);
    let allocator = env.allocator();
    let _foreign = UdpSocket::bind(("127.0.0.1", env.port(0))).unwrap();
    assert!(allocator.is_available(env.port(0)), "{}", allocator.check(env.port(0)));
    assert_eq!(allocator.request(request_for("api", Depth::Bound)).unwrap().port(), env.port(0));
}

#[test]
fn port_lookup_is_by_service_and_scope() {
    let env = TestEnv::with_ports(4);
    let (one, other) = (env.allocator(), env.allocator());
    let _lease = one.request(request_for("db", Depth::Claimed)).unwrap();
    for allocator in [&one, &other] {
        assert_eq!(allocator.port_for_service(&name("db"), &Scope::default()), Some(env.port(0)));
        assert_eq!(allocator.port_for_service(&name("db"), &"shop".parse().unwrap()), None);
        assert_eq!(allocator.port_for_service(&name("cache"), &Scope::default()), None);
    }
}

#[test]
fn concurrent_sessions_are_granted_every_port_once() {
    for depth in DEPTHS {
        let env = TestEnv::with_ports(11);
        let start = Barrier::new(16);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let search = || {
                let allocator = env.allocator();
                start.wait();
                let outcome = allocator.request(request_for("postgres", depth));
                start.wait();
                outcome.map(|lease| lease.port()).map_err(refusals)
            };
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(search)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut granted: Vec<u16> =
            outcomes.iter().filter_map(|o| o.as_ref().ok().copied()).collect();
        granted.sort_unstable();
        assert_eq!(granted, env.ports(), "{depth}");
        for refusals in outcomes.into_iter().filter_map(Result::err) {
            assert!(
                refusals.iter().all(|(_, reason)| matches!(reason, RejectionReason::Leased(_)))
            );
        }
    }
}

#[test]
fn concurrent_requests_for_one_service_share_one_lease() {
    let env = TestEnv::with_ports(4);
    let allocator = env.allocator();
    let start = Barrier::new(8);
    let ports: HashSet<u16> = std::thread::scope(|scope| {
        let request = || {
            start.wait();
            let lease = allocator.request(request_for("api", Depth::Bound)).unwrap();
            start.wait();
            lease.port()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(request)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ports, HashSet::from([env.port(0)]));
}

#[test]
fn removed_table_is_detected() {
    let env = TestEnv::with_ports(3);
    let allocator = env.allocator();
    let _lease = allocator.request(request_for("api", Depth::Bound)).unwrap();
    let table = std::fs::read_dir(env.folder.path().join("run")).unwrap();
    let table = table.map(|entry| entry.unwrap().path()).next().unwrap();
    std::fs::remove_file(&table).unwrap();
    // The file is checked every 2 ms, not at each request.
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        match allocator.request(request_for("web", Depth::Bound)) {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline, "the change was not detected"),
        }
    };
    assert!(matches!(error, AllocatorError::Table(TableError::Removed { .. })), "{error}");
    let fresh = env.allocator().request(request_for("web", Depth::Bound)).unwrap();
    assert_eq!(fresh.port(), env.port(1), "a bound port is refused without the table too");
}

#[test]
fn request_for_several_ports_is_atomic() {
    let env = TestEnv::with_ports(2);
    let allocator = env.allocator();
    let named = |name: &str| request_for("api", Depth::Bound).port_name(name.parse().unwrap());
    let refused =
        allocator.request_all([request_for("api", Depth::Bound), named("metrics"), named("b")]);
    assert!(matches!(refused, Err(AllocatorError::NoPortsAvailable { .. })), "{refused:?}");
    assert_eq!(allocator.holders(), [], "the ports granted before are released");

    let leases =
        allocator.request_all([request_for("api", Depth::Bound), named("metrics")]).unwrap();
    let names: Vec<_> =
        leases.iter().map(|lease| lease.port_name().map(ToString::to_string)).collect();
    assert_eq!(names, [None, Some("metrics".to_owned())]);
    assert_eq!(leases.iter().map(PortLease::port).collect::<Vec<_>>(), env.ports());
    let service = "api".parse().unwrap();
    let main = allocator.port_for_service(&service, &Scope::default());
    assert_eq!(main, Some(leases[0].port()));
    let holders: Vec<String> = allocator.holders().iter().map(ToString::to_string).collect();
    assert!(holders[1].starts_with("api:metrics (scope default"), "{holders:?}");

    let twice = allocator.request_all([named("a"), named("a")]).unwrap_err().to_string();
    assert!(twice.contains("api requests its port a twice"), "{twice}");
}

#[test]
fn listening_sockets_are_passed_to_child() {
    let env = TestEnv::with_ports(2);
    let mut lease = env.allocator().request(request_for("api", Depth::Bound).udp(true)).unwrap();
    assert_eq!(lease.listener(), None, "no process listens yet");
    let inherited: Vec<_> = {
        let sockets = lease.listening_sockets().unwrap();
        sockets.iter().map(|socket| socket.try_clone_to_owned().unwrap()).collect()
    };
    let [tcp, udp]: [std::os::fd::OwnedFd; 2] = inherited.try_into().unwrap();
    let (listener, udp) = (TcpListener::from(tcp), UdpSocket::from(udp));
    lease.leave_sockets_to_child();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, lease.port()));
    assert_eq!(lease.listener().unwrap().process.unwrap().pid, std::process::id());
    let _client = TcpStream::connect(address).unwrap();
    listener.accept().unwrap();
    assert_eq!(udp.local_addr().unwrap().port(), lease.port());
    drop(listener);
    assert!(TcpStream::connect(address).is_err(), "this process has no copy of the listener");
    assert_eq!(env.allocator().holders().len(), 1, "the port is still reserved");
}

#[test]
fn port_on_which_the_service_listens_already_is_free_for_it_alone() {
    let env = TestEnv::with_ports(2);
    let _container = TcpListener::bind((Ipv4Addr::UNSPECIFIED, env.port(0))).unwrap();
    let served = |service, depth| request_for(service, depth).served([env.port(0)]);
    // The listener would not let it have the socket.
    let guarded = env.allocator().request(served("db", Depth::Guarded)).unwrap();
    assert_eq!(guarded.port(), env.port(1));
    drop(guarded);
    let lease = env.allocator().request(served("web", Depth::Claimed)).unwrap();
    assert_eq!(lease.port(), env.port(0));
    // It is reserved like any other.
    let another = env.allocator().request(served("web", Depth::Claimed)).unwrap();
    assert_eq!(another.port(), env.port(1));
    assert!(env.allocator().request(request_for("api", Depth::Claimed)).is_err());
}

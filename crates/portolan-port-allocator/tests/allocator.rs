//! What a program sees of the port allocator. No test here starts a process: one that is being
//! started has a copy of every socket for a moment.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod support;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use portolan_core::{PortRange, Scope, ServiceName};
use portolan_metrics::Metrics;
use portolan_port_allocator::{
    AllocatorError, BindAddress, Depth, PortAllocator, PortAllocatorConfig, PortLease, PortRequest,
    PortState, RejectionReason, TableError,
};
use support::{POOL, World, wish};

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
fn the_second_service_gets_the_next_port() {
    for depth in DEPTHS {
        let world = World::with_ports(4);
        let allocator = world.allocator();
        let one = allocator.request(wish("postgres-1", depth)).unwrap();
        let two = allocator.request(wish("postgres-2", depth)).unwrap();
        assert_eq!((one.port(), two.port()), (world.port(0), world.port(1)));
        assert_eq!((one.depth(), one.service().as_str()), (depth, "postgres-1"));
    }
}

#[test]
fn a_service_that_holds_a_port_gets_the_same_one_again() {
    let world = World::with_ports(4);
    let allocator = world.allocator();
    let first = allocator.request(wish("api", Depth::Guarded)).unwrap();
    let again = allocator.clone().request(wish("api", Depth::Bound)).unwrap();
    assert_eq!((again.port(), again.depth()), (first.port(), Depth::Guarded));
    first.release();
    assert_eq!(world.allocator().holders().len(), 1, "the other handle keeps it");
    drop(again);
    assert_eq!(world.allocator().holders(), []);
}

#[test]
fn another_scope_or_another_session_is_another_instance() {
    let world = World::with_ports(4);
    let allocator = world.allocator();
    let ours = allocator.request(wish("api", Depth::Bound)).unwrap();
    let scoped = wish("api", Depth::Bound).scope("shop".parse().unwrap());
    let scoped = allocator.request(scoped).unwrap();
    let theirs = world.allocator();
    let theirs = theirs.request(wish("api", Depth::Bound)).unwrap();
    let ports = HashSet::from([ours.port(), scoped.port(), theirs.port()]);
    assert_eq!(ports.len(), 3);
}

#[test]
fn a_port_that_was_given_back_is_granted_again() {
    for depth in DEPTHS {
        let world = World::with_ports(2);
        let (one, other) = (world.allocator(), world.allocator());
        for round in 0..100 {
            let lease = one.request(wish("api", depth)).unwrap();
            assert_eq!(lease.port(), world.port(0), "{depth}, round {round}");
            lease.release();
            let lease = other.request(wish("web", depth)).unwrap();
            assert_eq!(lease.port(), world.port(0), "{depth}, round {round}");
        }
    }
}

#[test]
fn a_service_finds_its_last_port_before_the_one_it_prefers() {
    let world = World::with_ports(4);
    let foreign = TcpListener::bind(("127.0.0.1", world.port(0))).unwrap();
    assert_eq!(world.allocator().request(wish("api", Depth::Bound)).unwrap().port(), world.port(1));
    drop(foreign);
    let port = |allocator: PortAllocator, request| allocator.request(request).unwrap().port();
    assert_eq!(port(world.allocator(), wish("api", Depth::Bound)), world.port(1));
    let elsewhere = wish("api", Depth::Bound).folder("/elsewhere".into());
    assert_eq!(port(world.allocator(), elsewhere), world.port(0), "another folder");
    let now_prefers = wish("api", Depth::Bound).preferred(world.port(2));
    assert_eq!(port(world.allocator(), now_prefers), world.port(2), "another preference");
    let off = PortAllocatorConfig { sticky: false, ..world.config() };
    let off = PortAllocator::new(off).unwrap();
    assert_eq!(port(off, wish("api", Depth::Bound)), world.port(0), "stickiness off");
}

#[test]
fn a_search_in_vain_names_everybody_in_the_way() {
    let world = World::with_ports(5);
    let reserved = PortAllocatorConfig { reserved_ports: vec![world.port(4)], ..world.config() };
    let allocator = PortAllocator::new(reserved).unwrap();
    let scope: Scope = "shop".parse().unwrap();
    let one = wish("postgres-1", Depth::Claimed).scope(scope.clone());
    let _one = allocator.request(one).unwrap();
    let _two = world.allocator().request(wish("postgres-2", Depth::Guarded)).unwrap();
    let three = world.allocator().request(wish("postgres-3", Depth::Bound)).unwrap();
    let _three = three.into_listener().unwrap();
    let _foreign = UdpSocket::bind(("127.0.0.1", world.port(3))).unwrap();

    let error = allocator.request(wish("postgres-4", Depth::Bound).udp(true)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("no port available for postgres-4 in {}", world.range())));
    assert!(text.ends_with("or allow ephemeral ports (port_allocator.allow_ephemeral)"), "{text}");
    let refusals = refusals(error);
    assert_eq!(refusals.iter().map(|(port, _)| *port).collect::<Vec<_>>(), world.ports());
    for (index, (port, reason)) in refusals.iter().enumerate() {
        match (index, reason) {
            (0..=2, RejectionReason::Leased(holder)) => {
                assert_eq!(holder.service.as_str(), format!("postgres-{}", index + 1));
                assert_eq!(holder.pid, std::process::id());
                let line = format!("{port} held by {} (scope {}", holder.service, holder.scope);
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
fn a_foreign_process_that_is_only_bound_is_detected_too() {
    let world = World::with_ports(2);
    let (one, _two) = (world.allocator(), world.allocator());
    let guards: Vec<_> = world
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
        let error = one.request(wish("api", depth)).unwrap_err();
        // Newer kernels name who is only bound, older ones do not.
        let error = error.to_string();
        let own = format!("(pid {},", std::process::id());
        let is_told = error.contains("taken by a process that the system does not name");
        assert!(is_told || error.contains(&own), "{error}");
    }
    drop(guards);
    assert!(one.request(wish("api", Depth::Bound)).is_ok());
}

#[test]
fn a_foreign_process_on_the_preferred_port_is_a_conflict_and_counted() {
    let world = World::with_ports(3);
    let metrics = Metrics::new();
    let allocator = world.allocator().with_metrics(metrics.clone());
    let _foreign = TcpListener::bind(("127.0.0.1", world.port(0))).unwrap();
    let lease = allocator.request(wish("api", Depth::Bound)).unwrap();
    assert_eq!(lease.port(), world.port(1));
    lease.release();
    let text = metrics.encode();
    for family in ["ports_allocated", "port_conflicts", "ports_released"] {
        let line = format!("discovery_{family}_total{{service_type=\"{POOL}\"}} 1");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

#[test]
fn ephemeral_ports_come_last_and_only_where_allowed() {
    let world = World::with_ports(2);
    let holders = [world.allocator(), world.allocator()];
    let _held: Vec<_> =
        holders.iter().map(|a| a.request(wish("api", Depth::Claimed)).unwrap()).collect();
    let allocator = world.allocator();
    assert!(allocator.request(wish("web", Depth::Bound)).is_err());
    let lease = allocator.request(wish("web", Depth::Bound).allow_ephemeral(true)).unwrap();
    assert!(!world.ports().contains(&lease.port()));
    let open = PortAllocatorConfig { allow_ephemeral: true, ..world.config() };
    let open = PortAllocator::new(open).unwrap();
    let other = open.request(PortRequest::new(name("anything"))).unwrap();
    assert_ne!(other.port(), lease.port());
}

#[test]
fn a_listener_keeps_the_name_on_the_port_as_long_as_it_listens() {
    let world = World::with_ports(2);
    let listener = world.allocator().request(wish("api", Depth::Bound)).unwrap();
    let listener = listener.into_listener().unwrap();
    assert_eq!(listener.local_addr().unwrap().port(), world.port(0));
    TcpStream::connect(("127.0.0.1", world.port(0))).unwrap();

    let view = world.allocator();
    let holder = &view.holders()[0];
    assert_eq!((holder.port, holder.service.as_str()), (world.port(0), "api"));
    assert_eq!(view.port_for_service(&name("api"), &Scope::default()), Some(world.port(0)));
    let next = view.request(wish("web", Depth::Guarded)).unwrap();
    assert_eq!(next.port(), world.port(1), "the listener has the first");
    assert_eq!(view.holders().len(), 2, "and is still listed after the attempt");

    drop((listener, next));
    assert_eq!(view.holders(), []);
    assert_eq!(view.request(wish("api", Depth::Bound)).unwrap().port(), world.port(0));
}

#[test]
fn a_service_that_listens_and_asks_again_gets_another_port() {
    let world = World::with_ports(3);
    let allocator = world.allocator();
    let _listener = allocator.request(wish("api", Depth::Bound)).unwrap().into_listener().unwrap();
    assert_eq!(allocator.request(wish("api", Depth::Bound)).unwrap().port(), world.port(1));
}

#[test]
fn a_lease_of_any_depth_can_be_listened_on() {
    for depth in DEPTHS {
        let world = World::with_ports(2);
        let request = wish("api", depth).address(BindAddress::LOOPBACK);
        let listener = world.allocator().request(request).unwrap().into_listener().unwrap();
        assert_eq!(
            listener.local_addr().unwrap().to_string(),
            format!("127.0.0.1:{}", world.port(0))
        );
    }
}

#[test]
fn a_foreign_process_who_was_faster_is_an_error_and_not_a_surprise() {
    let world = World::with_ports(2);
    let lease = world.allocator().request(wish("api", Depth::Claimed)).unwrap();
    let _foreign = TcpListener::bind(("127.0.0.1", lease.port())).unwrap();
    let error = lease.into_listener().unwrap_err();
    assert!(matches!(error, AllocatorError::Listen { port, .. } if port == world.port(0)));
}

#[test]
fn a_guard_keeps_foreign_processes_away_until_it_is_let_go() {
    let world = World::with_ports(2);
    let mut lease = world.allocator().request(wish("db", Depth::Guarded)).unwrap();
    let without_reuse =
        || UdpSocket::bind(("127.0.0.1", 0)).and_then(|_| bind_plain(lease_port(&world)));
    assert!(without_reuse().is_err());
    assert_eq!(lease.inherited_fds().len(), 2);
    lease.let_go_of_guard();
    assert_eq!(lease.inherited_fds().len(), 1);
    assert!(without_reuse().is_ok());
    let other = world.allocator().request(wish("web", Depth::Guarded)).unwrap();
    assert_eq!(other.port(), world.port(1), "the reservation stays");
}

#[test]
fn a_guarded_lease_has_its_guard_even_where_another_handle_on_it_is_just_dropped() {
    let world = World::with_ports(3);
    let allocator = world.allocator();
    let take_turns = || {
        for _ in 0..1_000 {
            let lease = allocator.request(wish("db", Depth::Guarded)).unwrap();
            assert_eq!(lease.inherited_fds().len(), 2, "session, guard");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(take_turns);
        scope.spawn(take_turns);
    });
}

fn lease_port(world: &World) -> u16 {
    world.port(0)
}

fn bind_plain(port: u16) -> std::io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    Ok(socket)
}

#[test]
fn descriptors_of_a_lease_are_closed_on_exec_unless_its_owner_says_otherwise() {
    let world = World::with_ports(2);
    let request = wish("db", Depth::Bound).address(BindAddress::LOOPBACK).udp(true);
    let lease = world.allocator().request(request).unwrap();
    let descriptors = lease.inherited_fds();
    assert_eq!(descriptors.len(), 4, "session, guard, listener, datagrams");
    for descriptor in descriptors {
        let flags = rustix::io::fcntl_getfd(descriptor).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "{}", descriptor.as_raw_fd());
    }
}

#[test]
fn a_lease_left_to_children_lasts_as_long_as_the_session() {
    let world = World::with_ports(2);
    let allocator = world.allocator();
    let lease = allocator.request(wish("db", Depth::Guarded)).unwrap();
    let inherited: Vec<_> =
        lease.inherited_fds().iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
    lease.leave_to_children();
    drop(allocator);
    let view = world.allocator();
    assert_eq!(view.holders()[0].service, name("db"));
    drop(inherited);
    assert_eq!(view.holders(), []);
}

#[test]
fn udp_is_granted_with_tcp_or_not_at_all() {
    let world = World::with_ports(3);
    let _foreign = UdpSocket::bind(("127.0.0.1", world.port(0))).unwrap();
    let lease = world.allocator().request(wish("dns", Depth::Bound).udp(true)).unwrap();
    assert_eq!(lease.port(), world.port(1));
    let socket = lease.udp_socket().unwrap().unwrap();
    assert_eq!(socket.local_addr().unwrap().port(), lease.port());
    assert_eq!(world.allocator().holders()[0].protocol.as_str(), "tcp+udp");
    let tcp = world.allocator().request(wish("web", Depth::Bound)).unwrap();
    assert_eq!((tcp.port(), tcp.udp_socket().unwrap().is_none()), (world.port(0), true));
}

#[test]
fn what_cannot_be_granted_at_all_is_an_error_at_the_call() {
    let world = World::with_ports(3);
    let allocator = world.allocator();
    let wrong = |result: Result<_, AllocatorError>| result.map(drop).unwrap_err();
    assert!(matches!(wrong(allocator.allocate("", 8080)), AllocatorError::Name(_)));
    assert!(matches!(wrong(allocator.allocate("x", 0)), AllocatorError::PreferredZero { .. }));
    for (start, end) in [(0, 5), (9, 5)] {
        let error = wrong(allocator.allocate_in_range("x", start, end));
        assert!(matches!(error, AllocatorError::Range(_)));
    }
    let elsewhere = BindAddress::Ip([192, 0, 2, 1].into());
    let error = wrong(allocator.request(wish("x", Depth::Bound).address(elsewhere)));
    assert!(matches!(error, AllocatorError::AddressNotHere { .. }), "{error}");
    assert_eq!(allocator.holders(), [], "and leaves nothing behind");
    let off = PortAllocatorConfig { enabled: false, ..world.config() };
    let off = PortAllocator::new(off).unwrap();
    assert!(matches!(wrong(off.allocate("x", 8080)), AllocatorError::Disabled));
}

#[test]
fn a_range_that_the_held_port_is_not_in_is_an_error() {
    let world = World::with_ports(4);
    let allocator = world.allocator();
    let held = allocator.allocate_in_range("api", world.port(0), world.port(1)).unwrap();
    let error = allocator.allocate_in_range("api", world.port(2), world.port(3)).unwrap_err();
    assert!(matches!(error, AllocatorError::HeldElsewhere { port, .. } if port == held.port()));
    drop(held);
    let now = allocator.allocate_in_range("api", world.port(2), world.port(3)).unwrap();
    assert_eq!(now.port(), world.port(2));
}

#[test]
fn a_report_tells_why_a_port_could_not_be_granted() {
    let world = World::with_ports(5);
    let config = PortAllocatorConfig { reserved_ports: vec![world.port(3)], ..world.config() };
    let allocator = PortAllocator::new(config).unwrap();
    let lease = allocator.request(wish("db", Depth::Guarded)).unwrap();
    let _server = TcpListener::bind(("127.0.0.1", lease.port())).unwrap();
    let _foreign = TcpListener::bind(("127.0.0.1", world.port(1))).unwrap();
    let outside = PortRange::new(world.port(5), world.port(5)).unwrap().start();
    for (port, state, text) in [
        (world.port(0), PortState::Leased, "is leased to db (scope default"),
        (world.port(1), PortState::Taken, "without a lease; end it, or use another port"),
        (world.port(2), PortState::Free, "is free (pool mine)"),
        (world.port(3), PortState::Reserved, "is never granted"),
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
    let json = serde_json::to_value(allocator.check(lease.port())).unwrap();
    assert_eq!(
        (json["state"].as_str(), json["holder"]["service"].as_str()),
        (Some("leased"), Some("db"))
    );
}

#[test]
fn a_port_that_is_taken_in_udp_only_is_available_as_most_services_want_it() {
    let world = World::with_ports(2);
    let allocator = world.allocator();
    let _foreign = UdpSocket::bind(("127.0.0.1", world.port(0))).unwrap();
    assert!(allocator.is_available(world.port(0)), "{}", allocator.check(world.port(0)));
    assert_eq!(allocator.request(wish("api", Depth::Bound)).unwrap().port(), world.port(0));
}

#[test]
fn a_service_is_found_by_its_name_in_its_own_scope() {
    let world = World::with_ports(4);
    let (one, other) = (world.allocator(), world.allocator());
    let _lease = one.request(wish("db", Depth::Claimed)).unwrap();
    for allocator in [&one, &other] {
        assert_eq!(allocator.port_for_service(&name("db"), &Scope::default()), Some(world.port(0)));
        assert_eq!(allocator.port_for_service(&name("db"), &"shop".parse().unwrap()), None);
        assert_eq!(allocator.port_for_service(&name("cache"), &Scope::default()), None);
    }
}

#[test]
fn of_many_sessions_at_once_as_many_get_a_port_as_there_are() {
    for depth in DEPTHS {
        let world = World::with_ports(11);
        let start = Barrier::new(16);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let search = || {
                let allocator = world.allocator();
                start.wait();
                let outcome = allocator.request(wish("postgres", depth));
                start.wait();
                outcome.map(|lease| lease.port()).map_err(refusals)
            };
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(search)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut granted: Vec<u16> =
            outcomes.iter().filter_map(|o| o.as_ref().ok().copied()).collect();
        granted.sort_unstable();
        assert_eq!(granted, world.ports(), "{depth}");
        for refusals in outcomes.into_iter().filter_map(Result::err) {
            assert!(
                refusals.iter().all(|(_, reason)| matches!(reason, RejectionReason::Leased(_)))
            );
        }
    }
}

#[test]
fn of_many_threads_that_ask_for_one_name_all_get_one_port() {
    let world = World::with_ports(4);
    let allocator = world.allocator();
    let start = Barrier::new(8);
    let ports: HashSet<u16> = std::thread::scope(|scope| {
        let ask = || {
            start.wait();
            let lease = allocator.request(wish("api", Depth::Bound)).unwrap();
            start.wait();
            lease.port()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ports, HashSet::from([world.port(0)]));
}

#[test]
fn a_table_that_somebody_removed_or_damaged_is_not_trusted() {
    let world = World::with_ports(3);
    let allocator = world.allocator();
    let _lease = allocator.request(wish("api", Depth::Bound)).unwrap();
    let table = std::fs::read_dir(world.folder.path().join("run")).unwrap();
    let table = table.map(|entry| entry.unwrap().path()).next().unwrap();
    std::fs::remove_file(&table).unwrap();
    // It is looked at again after a moment, not at each request.
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        match allocator.request(wish("web", Depth::Bound)) {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline, "nobody noticed"),
        }
    };
    assert!(matches!(error, AllocatorError::Table(TableError::Removed { .. })), "{error}");
    let fresh = world.allocator().request(wish("web", Depth::Bound)).unwrap();
    assert_eq!(fresh.port(), world.port(1), "a bound port is safe without any table");
}

#[test]
fn several_ports_are_granted_all_at_once_or_not_at_all() {
    let world = World::with_ports(2);
    let allocator = world.allocator();
    let named = |name: &str| wish("api", Depth::Bound).port_name(name.parse().unwrap());
    let refused = allocator.request_all([wish("api", Depth::Bound), named("metrics"), named("b")]);
    assert!(matches!(refused, Err(AllocatorError::NoPortsAvailable { .. })), "{refused:?}");
    assert_eq!(allocator.holders(), [], "what was granted before went back");

    let leases = allocator.request_all([wish("api", Depth::Bound), named("metrics")]).unwrap();
    let names: Vec<_> =
        leases.iter().map(|lease| lease.port_name().map(ToString::to_string)).collect();
    assert_eq!(names, [None, Some("metrics".to_owned())]);
    assert_eq!(leases.iter().map(PortLease::port).collect::<Vec<_>>(), world.ports());
    let service = "api".parse().unwrap();
    let main = allocator.port_for_service(&service, &Scope::default());
    assert_eq!(main, Some(leases[0].port()));
    let holders: Vec<String> = allocator.holders().iter().map(ToString::to_string).collect();
    assert!(holders[1].starts_with("api:metrics (scope default"), "{holders:?}");

    let twice = allocator.request_all([named("a"), named("a")]).unwrap_err().to_string();
    assert!(twice.contains("api asks for its port a twice"), "{twice}");
}

#[test]
fn a_child_is_given_sockets_that_listen_already() {
    let world = World::with_ports(2);
    let mut lease = world.allocator().request(wish("api", Depth::Bound).udp(true)).unwrap();
    assert_eq!(lease.listener(), None, "nobody listens before that");
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
    assert!(TcpStream::connect(address).is_err(), "no copy is left in this process");
    assert_eq!(world.allocator().holders().len(), 1, "the port is reserved still");
}

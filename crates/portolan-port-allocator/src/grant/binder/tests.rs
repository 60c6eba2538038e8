use std::net::IpAddr;
use std::net::TcpStream;

use parking_lot::Mutex;
use portolan_core::ServiceName;

use block::Block;

use nix::errno::Errno;

use super::*;
use crate::grant::bind_retry::{RetryBudget, Wait};

#[path = "../../../tests/support/block.rs"]
mod block;

fn bind(port: u16, request: &PortRequest) -> Result<Sockets, BindError> {
    Binder::default().bind(port, request, Refusal::Distinguish)
}

fn request(depth: Depth) -> PortRequest {
    let name: ServiceName = "test".parse().unwrap();
    PortRequest::new(name).depth(depth)
}

/// A port that no other test has, nor gets later.
fn free_port() -> u16 {
    /// All blocks so far, because tests still use their ports, and the next index in the last one.
    static BLOCKS: Mutex<(Vec<Block>, u16)> = Mutex::new((Vec::new(), block::SIZE));
    let (blocks, next) = &mut *BLOCKS.lock();
    if *next == block::SIZE {
        blocks.push(Block::new());
        *next = 0;
    }
    *next += 1;
    blocks.last().unwrap().port(*next - 1)
}

/// Binds a free port with the retries of a search: a closed socket has its port until no process
/// refers to the socket, such as one that reads `/proc/PID/fd`.
fn bind_free(port: u16, request: &PortRequest) -> Sockets {
    RetryBudget::new().bind(&mut Binder::default(), port, request, Wait::ForSockets).unwrap()
}

/// A socket on every address, as a foreign process may have one.
fn bound_only(port: u16, reuse: bool) -> Socket {
    try_bind(SocketAddr::from(([127, 0, 0, 1], port)), Type::STREAM, reuse).unwrap()
}

fn plain(address: IpAddr, port: u16) -> io::Result<Socket> {
    try_bind(SocketAddr::new(address, port), Type::STREAM, false)
}

fn addresses() -> Vec<IpAddr> {
    let all = ["0.0.0.0", "127.0.0.1", "::", "::1"];
    all.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn held_port_refuses_foreign_binds_on_every_address() {
    for depth in [Depth::Bound, Depth::Guarded] {
        for address in [BindAddress::Any, BindAddress::LOOPBACK] {
            let port = free_port();
            let _sockets = bind_free(port, &request(depth).address(address));
            for foreign in addresses() {
                assert!(plain(foreign, port).is_err(), "{depth} on {address:?}, {foreign}");
            }
        }
    }
}

#[test]
fn server_with_reuse_address_listens_beside_guard() {
    for address in addresses() {
        let port = free_port();
        let sockets = bind_free(port, &request(Depth::Guarded));
        // The standard library sets SO_REUSEADDR, as most servers do.
        let Ok(server) = TcpListener::bind((address, port)) else {
            assert!(address.is_ipv6(), "{address}");
            continue;
        };
        let target = server.local_addr().unwrap();
        let target = match address.is_unspecified() {
            true => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            false => target,
        };
        let _client = TcpStream::connect(target).unwrap();
        server.accept().unwrap();
        drop(sockets);
    }
}

#[test]
fn port_of_foreign_socket_is_refused_at_every_depth() {
    for depth in [Depth::Bound, Depth::Guarded, Depth::Claimed] {
        for foreign in addresses() {
            let port = free_port();
            let Ok(_listener) = TcpListener::bind((foreign, port)) else { continue };
            let refused = bind(port, &request(depth).address(BindAddress::LOOPBACK));
            assert!(matches!(refused, Err(BindError::Served)), "{depth}, {foreign}");
        }
        for reuse in [false, true] {
            let port = free_port();
            let _foreign = bound_only(port, reuse);
            let refused = bind(port, &request(depth));
            assert!(matches!(refused, Err(BindError::InUse)), "{depth}, reuse {reuse}");
        }
    }
}

#[test]
fn guard_is_refused_beside_another_guard() {
    let port = free_port();
    let guard = bind_free(port, &request(Depth::Guarded));
    assert!(matches!(bind(port, &request(Depth::Guarded)), Err(BindError::InUse)));
    assert!(matches!(probe(port, false), Err(BindError::InUse)));
    drop(guard);
    assert!(probe(port, false).is_ok());
}

#[test]
fn port_with_connections_of_earlier_listener_is_granted() {
    let port = free_port();
    let listener = bind_free(port, &request(Depth::Bound)).listen(port, BindAddress::Any).unwrap();
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (_connection, _) = listener.accept().unwrap();
    drop(listener);
    let again = bind_free(port, &request(Depth::Bound));
    assert_eq!(again.listen(port, BindAddress::Any).unwrap().local_addr().unwrap().port(), port);
}

/// Leaves a connection that the system keeps for a minute on the port.
fn leave_a_connection_behind(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // The end that closes first is in TIME-WAIT: that of the server, which has the port.
    drop(listener.accept().unwrap());
    drop(listener);
    // A closed listener accepts connections until no process refers to it.
    let is_served = |_: u32| TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(!(0..1000).all(is_served), "port {port} is still served");
}

#[test]
fn bound_port_refuses_servers_with_reuse_address() {
    for address in [BindAddress::Any, BindAddress::LOOPBACK, BindAddress::Ip([0, 0, 0, 0].into())] {
        for leftovers in [false, true] {
            let port = free_port();
            if leftovers {
                leave_a_connection_behind(port);
            }
            let sockets = bind_free(port, &request(Depth::Bound).address(address));
            for foreign in addresses() {
                let bound = TcpListener::bind((foreign, port));
                assert!(bound.is_err(), "{address:?}, leftovers {leftovers}, {foreign}");
            }
            sockets.listen(port, address).unwrap();
        }
    }
}

#[test]
fn port_with_time_wait_connections_is_granted_once() {
    for depth in [Depth::Bound, Depth::Guarded] {
        let port = free_port();
        leave_a_connection_behind(port);
        // As with two users: their reservations are in separate tables.
        let held = bind_free(port, &request(depth));
        for other in [Depth::Bound, Depth::Guarded, Depth::Claimed] {
            let refused = bind(port, &request(other));
            assert!(matches!(refused, Err(BindError::InUse)), "{other} beside {depth}");
        }
        drop(held);
        drop(bind_free(port, &request(depth)));
    }
}

#[test]
fn link_local_address_without_scope_is_not_a_system_error() {
    let link_local: IpAddr = "fe80::1".parse().unwrap();
    let refused = bind(free_port(), &request(Depth::Bound).address(BindAddress::Ip(link_local)));
    assert!(matches!(refused, Err(BindError::AddressNotHere(_))), "{refused:?}");
    let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
    let port = free_port();
    let address = BindAddress::Ip(mapped);
    let sockets = bind_free(port, &request(Depth::Bound).address(address));
    sockets.listen(port, address).unwrap();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
}

#[test]
fn bound_socket_listens_on_requested_address() {
    for (address, expected) in [
        (BindAddress::LOOPBACK, "127.0.0.1"),
        (BindAddress::Ip([127, 0, 0, 2].into()), "127.0.0.2"),
    ] {
        let port = free_port();
        let sockets = bind_free(port, &request(Depth::Bound).address(address));
        let listener = sockets.listen(port, address).unwrap();
        assert_eq!(listener.local_addr().unwrap().to_string(), format!("{expected}:{port}"));
        drop(sockets);
        TcpStream::connect((expected, port)).unwrap();
    }
}

#[test]
fn sockets_of_every_depth_can_listen() {
    for depth in [Depth::Bound, Depth::Guarded, Depth::Claimed] {
        for address in [BindAddress::Any, BindAddress::LOOPBACK] {
            let port = free_port();
            let sockets = bind_free(port, &request(depth).address(address));
            let _listener = sockets.listen(port, address).unwrap();
            TcpStream::connect(("127.0.0.1", port)).unwrap();
        }
    }
}

#[test]
fn udp_socket_is_exclusive() {
    for address in [BindAddress::Any, BindAddress::LOOPBACK] {
        let port = free_port();
        let sockets = bind_free(port, &request(Depth::Bound).address(address).udp(true));
        assert!(UdpSocket::bind(("127.0.0.1", port)).is_err());
        assert_eq!(sockets.descriptors().count(), if address == BindAddress::Any { 2 } else { 3 });
        let socket = sockets.udp_socket().unwrap().unwrap();
        assert_eq!(socket.local_addr().unwrap().port(), port);
    }
}

#[test]
fn udp_request_is_refused_port_used_only_in_udp() {
    // Not a port that the kernel chooses: another connection may have the same one in TCP.
    let port = free_port();
    let _foreign = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let refused = bind(port, &request(Depth::Claimed).udp(true));
    assert!(matches!(refused, Err(BindError::Served)));
}

#[test]
fn foreign_address_is_distinguished_from_port_in_use() {
    let elsewhere = IpAddr::from([192, 0, 2, 1]);
    for depth in [Depth::Bound, Depth::Guarded] {
        let refused = bind(free_port(), &request(depth).address(BindAddress::Ip(elsewhere)));
        assert!(matches!(refused, Err(BindError::AddressNotHere(address)) if address == elsewhere));
    }
}

#[test]
fn system_errors_are_classified() {
    let says = |errno: Errno| BindError::from_system(errno.into(), Ipv4Addr::LOCALHOST.into());
    assert!(matches!(says(Errno::EADDRINUSE), BindError::InUse));
    assert!(matches!(says(Errno::EACCES), BindError::NotPermitted));
    assert!(matches!(says(Errno::EAFNOSUPPORT), BindError::AddressNotHere(_)));
    assert!(matches!(says(Errno::EMFILE), BindError::System(_)));
    for errno in [Errno::EADDRINUSE, Errno::EACCES, Errno::EADDRNOTAVAIL, Errno::EMFILE] {
        assert_eq!(says(errno).into_io().raw_os_error(), Some(errno as i32));
    }
}

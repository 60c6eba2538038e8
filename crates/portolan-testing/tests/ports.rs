//! The ports of a single test.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use portolan_port_allocator::{Depth, Holder, PortAllocator, PortState};
use portolan_testing::{
    Port, TestListener, listener, port, ports, try_listener, try_port, try_ports,
};
use socket2::{Domain, Socket, Type};

/// Returns an allocator with the same table as every other program of the user.
fn everybody_else() -> PortAllocator {
    PortAllocator::new(Default::default()).expect("the table of this host")
}

fn holder_of(port: u16) -> Option<Holder> {
    everybody_else().holders().into_iter().find(|holder| holder.port == port)
}

fn bind_without_reuse(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[test]
fn listener_accepts_on_its_port() {
    let listener = listener();
    let _client = TcpStream::connect(listener.address()).unwrap();
    let (_connection, peer) = listener.accept().unwrap();
    assert!(peer.ip().is_loopback());
    assert_eq!(listener.local_addr().unwrap(), listener.address());
    assert_eq!(listener.address().port(), listener.port());
}

#[test]
fn port_of_a_listener_is_reserved_on_every_address() {
    let listener = listener();
    for address in ["127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::"] {
        let address = SocketAddr::new(address.parse().unwrap(), listener.port());
        assert!(bind_without_reuse(address).is_err(), "{address} could be bound");
    }
    for address in ["127.0.0.1", "0.0.0.0", "::"] {
        let server = TcpListener::bind((address, listener.port()));
        assert!(server.is_err(), "a server that sets SO_REUSEADDR took {address}");
    }
}

#[test]
fn guarded_port_is_bound_only_with_so_reuseaddr() {
    let port = port();
    assert!(bind_without_reuse(port.address()).is_err());
    // Servers set SO_REUSEADDR, as std does.
    let server = TcpListener::bind(("127.0.0.1", *port)).unwrap();
    TcpStream::connect(port.address()).unwrap();
    drop(server);
    TcpListener::bind(("::", *port)).unwrap();
}

#[test]
fn port_without_guard_is_bound_without_so_reuseaddr() {
    let port = port().without_guard();
    let _server = bind_without_reuse(port.address()).unwrap();
    assert_eq!(everybody_else().check(*port).state, PortState::Leased);
}

#[test]
fn lease_is_listed_under_the_test_name_until_it_is_dropped() {
    let (listener, port) = (listener(), port());
    let holders =
        [(listener.port(), Depth::Bound), (*port, Depth::Guarded)].map(|(port, depth)| {
            let holder = holder_of(port).expect("a holder");
            assert_eq!((holder.depth, holder.pid), (depth, std::process::id()));
            assert_eq!(holder.scope.as_str(), "test");
            assert!(holder.service.as_str().contains("lease_is_listed_under"), "{holder}");
            holder.service
        });
    assert_ne!(holders[0], holders[1], "each is a service of its own");
    let numbers = [listener.port(), *port];
    drop((listener, port));
    assert!(numbers.into_iter().all(|port| holder_of(port).is_none()));
}

#[test]
fn several_ports_are_distinct_and_below_the_ephemeral_range() {
    let ports: [Port; 20] = ports();
    let numbers: BTreeSet<u16> = ports.iter().map(|port| **port).collect();
    assert_eq!(numbers.len(), 20);
    let usual = 32_768;
    assert!(numbers.iter().all(|port| *port < usual), "{numbers:?}");
    let _same_number_in_udp = UdpSocket::bind(ports[0].address());
}

#[test]
fn port_dereferences_to_and_prints_as_its_number() {
    let port = port();
    assert_eq!(format!("{port}"), port.to_string());
    assert_eq!(port.to_string().parse(), Ok(*port));
    assert_eq!(format!("[{port:>6}]"), format!("[{:>6}]", *port));
    assert_eq!(format!("{port:?}"), format!("Port({})", *port));
    assert_eq!(port.lease().port(), *port);
}

#[test]
fn into_std_keeps_the_port_and_the_name() {
    let listener = listener();
    let (port, address) = (listener.port(), listener.address());
    let alone: TcpListener = listener.into_std();
    TcpStream::connect(address).unwrap();
    alone.accept().unwrap();
    assert!(holder_of(port).is_some(), "listed as long as it listens");
    drop(alone);
    assert!(holder_of(port).is_none());
    assert!(TcpStream::connect(address).is_err(), "no copy is left");
}

#[test]
fn try_functions_return_the_error() {
    let listener: TestListener = try_listener().unwrap();
    let port = try_port().unwrap();
    let [one, two] = try_ports().unwrap();
    let different = BTreeSet::from([listener.port(), *port, *one, *two]);
    assert_eq!(different.len(), 4);
}

#[cfg(feature = "tokio")]
#[test]
fn into_tokio_accepts() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let listener = listener();
        let address = listener.address();
        let listener = listener.into_tokio().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        listener.accept().await.unwrap();
    });
}

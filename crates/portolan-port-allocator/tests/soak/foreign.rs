//! A foreign process, which binds ports of the pool without a lease.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use portolan_port_allocator::PortAllocatorConfig;
use rand::RngExt;
use rand::seq::IndexedRandom;
use socket2::{Domain, Socket, Type};

use crate::oracle::{Figure, Oracle, Safety};
use crate::worker::report_fault;

/// The addresses that it binds. `::` is dual-stack and conflicts with every address.
const ADDRESSES: [&str; 3] = ["127.0.0.1", "0.0.0.0", "::"];

/// Binds ports until the soak ends, like programs that do not know Portolan: mostly TCP, sometimes UDP,
/// and sometimes with `SO_REUSEADDR`.
pub(crate) fn bind_ports(oracle: &Oracle, config: &PortAllocatorConfig) {
    let mut random = rand::rng();
    let pool = *config.port_ranges.values().next().unwrap();
    while !oracle.has_ended() {
        let port = random.random_range(pool.range().start()..=pool.range().end());
        let address = ADDRESSES.choose(&mut random).unwrap().parse::<IpAddr>().unwrap();
        let address = SocketAddr::new(address, port);
        oracle.count(Figure::ForeignAttempts);
        match random.random_range(0..10) {
            0..6 => bind_plainly(oracle, address),
            6..8 => bind_beside_guard(oracle, address),
            _ => bind_udp(oracle, address, random.random_bool(0.5)),
        }
        thread::sleep(Duration::from_micros(random.random_range(0..1000)));
    }
}

fn bind_plainly(oracle: &Oracle, address: SocketAddr) {
    let Ok(socket) = bind(address, Type::STREAM, false) else { return };
    oracle.count(Figure::ForeignBinds);
    if let Some(pid) = oracle.protector(address.port(), Safety::Guarded) {
        report_fault(oracle, Figure::Takeovers, &format!("{address} of process {pid}"));
    }
    if rand::rng().random_bool(0.5) {
        socket.listen(1).unwrap();
    }
    thread::sleep(some_millis());
}

/// With `SO_REUSEADDR` a process may bind beside a guard and beside other such sockets; to listen on a
/// leased port is a fault.
fn bind_beside_guard(oracle: &Oracle, address: SocketAddr) {
    let port = address.port();
    let Some(before) = oracle.begin_foreign(port) else { return };
    let Ok(socket) = bind(address, Type::STREAM, true) else {
        return oracle.end_foreign(port, before);
    };
    oracle.count(Figure::ForeignBinds);
    thread::sleep(some_millis());
    if socket.listen(1).is_ok() {
        if let Some(pid) = oracle.protector(port, Safety::Sealed) {
            report_fault(
                oracle,
                Figure::Takeovers,
                &format!("{address} of process {pid}, listening"),
            );
        }
        thread::sleep(some_millis());
    }
    drop(socket);
    oracle.end_foreign(port, oracle.moment());
}

fn bind_udp(oracle: &Oracle, address: SocketAddr, reuse: bool) {
    let Ok(_socket) = bind(address, Type::DGRAM, reuse) else { return };
    oracle.count(Figure::ForeignBinds);
    if let Some(pid) = oracle.receiver(address.port()) {
        report_fault(oracle, Figure::Takeovers, &format!("{address} in UDP of process {pid}"));
    }
    thread::sleep(some_millis());
}

fn some_millis() -> Duration {
    Duration::from_millis(rand::rng().random_range(0..10))
}

fn bind(address: SocketAddr, kind: Type, reuse: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(reuse)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

//! A process that binds ports of the pool without asking anybody.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use portolan_port_allocator::PortAllocatorConfig;
use rand::RngExt;
use rand::seq::IndexedRandom;
use socket2::{Domain, Socket, Type};

use crate::ground::{Figure, Ground, Safety};
use crate::worker::blame;

/// What it binds. Dual-stack, `::` collides with every address.
const ADDRESSES: [&str; 3] = ["127.0.0.1", "0.0.0.0", "::"];

/// Takes ports until the soak ends, as programs do that know nothing of guards: mostly in TCP, now
/// and then in UDP, and sometimes with `SO_REUSEADDR`.
pub(crate) fn take_without_asking(ground: &Ground, config: &PortAllocatorConfig) {
    let mut random = rand::rng();
    let pool = *config.port_ranges.values().next().unwrap();
    while !ground.is_over() {
        let port = random.random_range(pool.range().start()..=pool.range().end());
        let address = ADDRESSES.choose(&mut random).unwrap().parse::<IpAddr>().unwrap();
        let address = SocketAddr::new(address, port);
        ground.count(Figure::StrangersTries);
        match random.random_range(0..10) {
            0..6 => take_plainly(ground, address),
            6..8 => take_beside_a_guard(ground, address),
            _ => take_datagrams(ground, address, random.random_bool(0.5)),
        }
        thread::sleep(Duration::from_micros(random.random_range(0..1000)));
    }
}

fn take_plainly(ground: &Ground, address: SocketAddr) {
    let Ok(socket) = bind(address, Type::STREAM, false) else { return };
    ground.count(Figure::StrangersBinds);
    if let Some(pid) = ground.protector(address.port(), Safety::Guarded) {
        blame(ground, Figure::Thefts, &format!("{address} of process {pid}"));
    }
    if rand::rng().random_bool(0.5) {
        socket.listen(1).unwrap();
    }
    thread::sleep(some_millis());
}

/// Whoever sets the option may bind beside a guard, and beside others who bound that way; only to
/// listen makes it a theft.
fn take_beside_a_guard(ground: &Ground, address: SocketAddr) {
    let port = address.port();
    let Some(before) = ground.note_stranger(port) else { return };
    let Ok(socket) = bind(address, Type::STREAM, true) else {
        return ground.forget_stranger(port, before);
    };
    ground.count(Figure::StrangersBinds);
    thread::sleep(some_millis());
    if socket.listen(1).is_ok() {
        if let Some(pid) = ground.protector(port, Safety::Sealed) {
            blame(ground, Figure::Thefts, &format!("{address} of process {pid}, listening"));
        }
        thread::sleep(some_millis());
    }
    drop(socket);
    ground.forget_stranger(port, ground.moment());
}

fn take_datagrams(ground: &Ground, address: SocketAddr, reuse: bool) {
    let Ok(_socket) = bind(address, Type::DGRAM, reuse) else { return };
    ground.count(Figure::StrangersBinds);
    if let Some(pid) = ground.receiver(address.port()) {
        blame(ground, Figure::Thefts, &format!("{address} in UDP of process {pid}"));
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

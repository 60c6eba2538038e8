//! Ports that no other test has, in this program or another.

use std::net::{TcpListener, UdpSocket};

/// How many ports a block has.
pub(crate) const SIZE: u16 = 31;
/// Blocks lie below the ephemeral range, so that no connection has one of the ports by chance.
const FIRST: u16 = 10_000;
const END: u16 = 32_000;

/// A block of ports, free in both protocols when it is made. Nobody else takes the block as long as
/// this socket, just below it, listens.
pub(crate) struct Block(TcpListener);

impl Block {
    pub(crate) fn new() -> Self {
        let count = (END - FIRST) / (SIZE + 1);
        let first = u16::try_from(std::process::id() % u32::from(count)).unwrap();
        (0..count)
            .map(|step| FIRST + (first + step) % count * (SIZE + 1))
            .find_map(take)
            .expect("a block of free ports")
    }

    pub(crate) fn port(&self, index: u16) -> u16 {
        assert!(index < SIZE);
        self.0.local_addr().unwrap().port() + 1 + index
    }
}

fn take(start: u16) -> Option<Block> {
    let owner = TcpListener::bind(("127.0.0.1", start)).ok()?;
    let free = |port| {
        TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok()
    };
    (start + 1..=start + SIZE).all(free).then_some(Block(owner))
}

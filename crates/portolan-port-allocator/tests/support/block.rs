//! Ports that no other test has, in this program or another.

use std::net::{TcpListener, UdpSocket};

/// How many ports a block has.
pub(crate) const SIZE: u16 = 31;
/// Blocks lie below the ephemeral range, so that no connection has one of the ports by chance; and
/// large blocks where no others are.
const FIRST: u16 = 10_000;
const END: u16 = 26_000;
const END_OF_LARGE: u16 = 32_500;

/// A block of ports, free in both protocols when it is made. Nobody else takes the block as long as
/// this socket, just below it, listens.
pub(crate) struct Block {
    owner: TcpListener,
    size: u16,
}

impl Block {
    pub(crate) fn new() -> Self {
        Self::between(FIRST, END, SIZE)
    }

    /// A block of so many ports.
    #[allow(dead_code, reason = "not each test that has blocks has large ones")]
    pub(crate) fn large(size: u16) -> Self {
        Self::between(END, END_OF_LARGE, size)
    }

    pub(crate) fn port(&self, index: u16) -> u16 {
        assert!(index < self.size);
        self.owner.local_addr().unwrap().port() + 1 + index
    }

    fn between(start: u16, end: u16, size: u16) -> Self {
        let count = (end - start) / (size + 1);
        let first = u16::try_from(std::process::id() % u32::from(count)).unwrap();
        (0..count)
            .map(|step| start + (first + step) % count * (size + 1))
            .find_map(|start| take(start, size))
            .expect("a block of free ports")
    }
}

fn take(start: u16, size: u16) -> Option<Block> {
    let owner = TcpListener::bind(("127.0.0.1", start)).ok()?;
    let free = |port| {
        TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok()
    };
    (start + 1..=start + size).all(free).then_some(Block { owner, size })
}

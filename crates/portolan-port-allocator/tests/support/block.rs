//! Blocks of ports that no other test uses, in this process or another.

use std::io;
use std::net::UdpSocket;
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The number of ports of a block, except for large ones.
pub(crate) const SIZE: u16 = 32;
/// The first port of the first block. All blocks are below the ephemeral range, so that no connection uses
/// their ports.
const FIRST: u16 = 10_000;
/// The area of large blocks, which have several neighbouring blocks.
const USUAL: Range<u16> = 0..250;
const LARGE: Range<u16> = 250..703;

/// Consecutive ports, free in TCP and UDP when the block is created. The block owns one abstract socket
/// name for each 32 ports, which excludes other tests.
pub(crate) struct Block {
    _owners: Vec<UnixListener>,
    first: u16,
    size: u16,
}

impl Block {
    pub(crate) fn new() -> Self {
        Self::among(USUAL, SIZE)
    }

    /// A block of this many ports.
    #[allow(dead_code, reason = "not each test that has blocks has large ones")]
    pub(crate) fn large(size: u16) -> Self {
        Self::among(LARGE, size)
    }

    pub(crate) fn port(&self, index: u16) -> u16 {
        assert!(index < self.size);
        self.first + index
    }

    fn among(places: Range<u16>, size: u16) -> Self {
        let neighbours = size.div_ceil(SIZE);
        let count = (places.end - places.start) / neighbours;
        let first = u16::try_from(std::process::id() % u32::from(count)).unwrap();
        (0..count)
            .map(|step| places.start + (first + step) % count * neighbours)
            .find_map(|place| take(place..place + neighbours, size))
            .expect("a block of free ports")
    }
}

fn take(places: Range<u16>, size: u16) -> Option<Block> {
    let first = FIRST + places.start * SIZE;
    let owners = places.map(own).collect::<io::Result<_>>().ok()?;
    let free = |port| bind_plain(port).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok();
    (first..first + size).all(free).then_some(Block { _owners: owners, first, size })
}

/// Binds in TCP without `SO_REUSEADDR`, which fails while a connection of an earlier test is in
/// TIME-WAIT on the port.
fn bind_plain(port: u16) -> io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from(([0, 0, 0, 0], port)).into())
}

/// Abstract socket names belong to a network namespace, like ports, and end with their owner.
fn own(place: u16) -> io::Result<UnixListener> {
    let name = format!("portolan-test-ports-{place}");
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

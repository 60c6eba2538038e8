//! The seam between the broadcast service and the network: datagrams out, datagrams in.
//!
//! [`udp`] is the network; [`memory`] is one made up for tests, which loses and parts as told.

pub mod memory;
pub mod udp;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

pub use futures_util::future::BoxFuture;

/// A way to the channel.
pub trait Transport: fmt::Debug + Send + Sync {
    /// The circles that a multicast can be sent to, at least one.
    fn destinations(&self) -> &[Destination];

    /// A receiver of everything that is sent to the channel. Several may be open on one machine.
    fn open_channel(&self) -> io::Result<Box<dyn Receiver>>;

    /// A socket of one's own: to send from, and to be answered on.
    fn open_socket(&self) -> io::Result<Box<dyn BroadcastSocket>>;

    /// Whether the address belongs to this machine.
    fn is_local_address(&self, address: IpAddr) -> bool;
}

/// Takes datagrams in.
pub trait Receiver: fmt::Debug + Send + Sync {
    /// The next datagram's size and source. What does not fit into the buffer is cut off.
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>>;
}

/// Takes datagrams in and sends them.
pub trait BroadcastSocket: Receiver {
    /// Sends to all on the channel within the circle.
    fn multicast<'a>(
        &'a self,
        payload: &'a [u8],
        reach: Destination,
    ) -> BoxFuture<'a, io::Result<()>>;

    /// Sends to one.
    fn send_to<'a>(&'a self, payload: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>>;
}

/// Who can hear a multicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The processes of this machine.
    Loopback,
    /// The network that the configured interface is on.
    Network,
    /// The configured peers, one by one.
    Peers,
}

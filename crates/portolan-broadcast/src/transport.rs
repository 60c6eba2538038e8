//! The interface between the broadcast service and the network.
//!
//! [`udp`] is UDP multicast; [`memory`] is a simulated network for tests with loss and partitions.

pub mod memory;
pub mod udp;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

pub use futures_util::future::BoxFuture;

/// Access to the channel.
pub trait Transport: fmt::Debug + Send + Sync {
    /// The circles that a multicast can be sent to now, at least one, loopback first.
    fn destinations(&self) -> Vec<Destination>;

    /// Returns the addresses of this host that are reachable there; empty if they are not known.
    fn addresses(&self, destination: Destination) -> Vec<IpAddr>;

    /// Opens a receiver of the channel. Several may be open on one host.
    fn open_channel(&self) -> io::Result<Box<dyn Receiver>>;

    /// Opens a socket that sends, and receives responses.
    fn open_socket(&self) -> io::Result<Box<dyn BroadcastSocket>>;

    /// Returns whether the address belongs to this host.
    fn is_local_address(&self, address: IpAddr) -> bool;

    /// Returns whether an interface of this host is attached to the network of the address, so that no router lies between.
    fn is_attached(&self, address: IpAddr) -> bool;

    /// Returns whether a receiver of the channel has joined the group there.
    fn is_joined(&self, destination: Destination) -> bool {
        destination != Destination::Peers
    }

    /// Returns whether interfaces besides loopback may belong to the channel, so that their changes matter.
    fn has_networks(&self) -> bool {
        false
    }

    /// Reads the interfaces of this host again, and joins the group on new ones.
    fn refresh(&self) {}
}

/// Receives datagrams.
pub trait Receiver: fmt::Debug + Send + Sync {
    /// Receives a datagram and returns its size and source. It is truncated to the buffer.
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>>;
}

/// Sends and receives datagrams.
pub trait BroadcastSocket: Receiver {
    /// Sends to the channel at this destination.
    fn multicast<'a>(
        &'a self,
        payload: &'a [u8],
        reach: Destination,
    ) -> BoxFuture<'a, io::Result<()>>;

    /// Sends to one address.
    fn send_to<'a>(&'a self, payload: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>>;
}

/// The receivers of a multicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The processes of this host.
    Loopback,
    /// The network that the interface with this index is on.
    Interface(u32),
    /// The configured peers, by unicast.
    Peers,
}

//! The channel over UDP multicast (IPv4).
//!
//! Loopback always belongs to the channel, so that the processes of one machine find each other
//! without a network; one more interface belongs to it unless loopback alone is asked for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::debug;

use super::{BoxFuture, BroadcastSocket, Destination, Receiver, Transport};
use crate::{BroadcastConfig, BroadcastError};

/// The requested receive buffer in bytes: a burst of several hundred announcements. The kernel may grant
/// less.
const RECEIVE_BUFFER: usize = 1 << 20;

/// The UDP multicast transport.
#[derive(Debug, Clone)]
pub struct UdpTransport {
    group: SocketAddrV4,
    network: Option<Ipv4Addr>,
    peers: Vec<SocketAddr>,
    hop_limit: u8,
    destinations: Vec<Destination>,
    own_addresses: Vec<IpAddr>,
}

/// Receives the group.
#[derive(Debug)]
struct Channel(UdpSocket);

/// Sends, and receives responses. The interface of a multicast is a property of the socket, so that setting
/// it and sending need one lock.
#[derive(Debug)]
struct OwnSocket {
    socket: UdpSocket,
    transport: UdpTransport,
    interface: Mutex<()>,
}

// === impl UdpTransport ===

impl UdpTransport {
    /// Creates the transport of this configuration.
    pub fn new(config: &BroadcastConfig) -> Result<Self, BroadcastError> {
        let SocketAddr::V4(group) = config.multicast_address else {
            return Err(config.no_ipv6_group());
        };
        let addresses = if_addrs::get_if_addrs().unwrap_or_else(|error| {
            debug!(%error, "cannot list the interfaces, knowing loopback only");
            Vec::new()
        });
        let network = network_interface(config, &addresses)?;
        let mut destinations = vec![Destination::Loopback];
        destinations.extend(network.map(|_| Destination::Network));
        destinations.extend(config.peers.first().map(|_| Destination::Peers));
        Ok(Self {
            group,
            network,
            peers: config.peers.clone(),
            hop_limit: config.hop_limit,
            destinations,
            own_addresses: addresses.iter().map(|interface| interface.ip()).collect(),
        })
    }

    /// Returns the address of the receiver. Bound to the group, it receives no unicast, which has no hop
    /// limit. With peers, which send by unicast, it must be bound to every address.
    fn channel_address(&self) -> SocketAddrV4 {
        let any = !self.peers.is_empty() || cfg!(not(unix));
        let address = if any { Ipv4Addr::UNSPECIFIED } else { *self.group.ip() };
        SocketAddrV4::new(address, self.group.port())
    }

    fn own_address(&self) -> SocketAddrV4 {
        let stays_here =
            self.network.is_none() && self.peers.iter().all(|peer| peer.ip().is_loopback());
        let address = if stays_here { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        SocketAddrV4::new(address, 0)
    }

    fn open_channel(&self) -> io::Result<UdpSocket> {
        let socket = raw_socket()?;
        share_port(&socket)?;
        socket.bind(&SocketAddr::from(self.channel_address()).into())?;
        // By default Linux delivers the groups of every process to the socket (ip(7), IP_MULTICAST_ALL).
        #[cfg(any(target_os = "android", target_os = "linux"))]
        socket.set_multicast_all_v4(false)?;
        socket.join_multicast_v4(self.group.ip(), &Ipv4Addr::LOCALHOST)?;
        if let Some(interface) = self.network
            && let Err(error) = socket.join_multicast_v4(self.group.ip(), &interface)
        {
            // A host without a network still has loopback.
            debug!(%interface, %error, "cannot join the channel on the network, hearing loopback only");
        }
        UdpSocket::from_std(socket.into())
    }

    fn open_own(&self) -> io::Result<UdpSocket> {
        let socket = raw_socket()?;
        socket.set_multicast_ttl_v4(self.hop_limit.into())?;
        socket.set_multicast_loop_v4(true)?;
        socket.bind(&SocketAddr::from(self.own_address()).into())?;
        UdpSocket::from_std(socket.into())
    }
}

impl Transport for UdpTransport {
    fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    fn open_channel(&self) -> io::Result<Box<dyn Receiver>> {
        Ok(Box::new(Channel(self.open_channel()?)))
    }

    fn open_socket(&self) -> io::Result<Box<dyn BroadcastSocket>> {
        let socket = self.open_own()?;
        Ok(Box::new(OwnSocket { socket, transport: self.clone(), interface: Mutex::new(()) }))
    }

    fn is_local_address(&self, address: IpAddr) -> bool {
        self.own_addresses.contains(&address)
    }
}

fn raw_socket() -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        debug!(%error, "the receive buffer keeps its size");
    }
    Ok(socket)
}

/// Several processes on one machine listen at once: Linux wants `SO_REUSEADDR` for that, the
/// BSDs want `SO_REUSEPORT`, and other programs on the channel may have set either.
fn share_port(socket: &RawSocket) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    Ok(())
}

/// The address of the interface besides loopback; `0.0.0.0` leaves it to the kernel's routes, and
/// none means loopback only.
fn network_interface(
    config: &BroadcastConfig,
    interfaces: &[if_addrs::Interface],
) -> Result<Option<Ipv4Addr>, BroadcastError> {
    let wanted = config.interface.as_str();
    let unknown = || {
        config.setting_error(
            "interface",
            wanted,
            "is not the name or IPv4 address of an interface of this machine, 0.0.0.0 or 127.0.0.1",
        )
    };
    let address = match wanted.parse::<Ipv4Addr>() {
        Ok(address) => address,
        Err(_) => interfaces
            .iter()
            .filter(|interface| interface.name == wanted)
            .find_map(|interface| match interface.ip() {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .ok_or_else(unknown)?,
    };
    if address.is_loopback() {
        return Ok(None);
    }
    let peers = interfaces.iter().any(|interface| interface.ip() == IpAddr::V4(address));
    if address.is_unspecified() || peers { Ok(Some(address)) } else { Err(unknown()) }
}

// === impl Channel ===

impl Receiver for Channel {
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(self.0.recv_from(buffer))
    }
}

// === impl OwnSocket ===

impl OwnSocket {
    async fn multicast_on(&self, payload: &[u8], interface: Ipv4Addr) -> io::Result<()> {
        let group = SocketAddr::from(self.transport.group);
        let send = || {
            let _held = self.interface.lock();
            SockRef::from(&self.socket).set_multicast_if_v4(&interface)?;
            self.socket.try_io(Interest::WRITABLE, || {
                SockRef::from(&self.socket).send_to(payload, &group.into())
            })
        };
        loop {
            self.socket.writable().await?;
            match send() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent.map(drop),
            }
        }
    }

    /// Sends to every peer. It is an error only if all of them fail.
    async fn send_to_peers(&self, payload: &[u8]) -> io::Result<()> {
        let mut outcome = Err(io::ErrorKind::AddrNotAvailable.into());
        for peer in &self.transport.peers {
            match self.socket.send_to(payload, peer).await {
                Ok(_) => outcome = Ok(()),
                Err(error) => {
                    debug!(%peer, %error, "cannot send to a peer");
                    outcome = outcome.map_err(|_| error);
                }
            }
        }
        outcome
    }
}

impl Receiver for OwnSocket {
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(self.socket.recv_from(buffer))
    }
}

impl BroadcastSocket for OwnSocket {
    fn multicast<'a>(
        &'a self,
        payload: &'a [u8],
        reach: Destination,
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            match (reach, self.transport.network) {
                (Destination::Loopback, _) => self.multicast_on(payload, Ipv4Addr::LOCALHOST).await,
                (Destination::Network, Some(interface)) => {
                    self.multicast_on(payload, interface).await
                }
                (Destination::Network, None) => Err(io::ErrorKind::NetworkUnreachable.into()),
                (Destination::Peers, _) => self.send_to_peers(payload).await,
            }
        })
    }

    fn send_to<'a>(&'a self, payload: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.socket.send_to(payload, to).await.map(drop) })
    }
}

#[cfg(test)]
mod tests;

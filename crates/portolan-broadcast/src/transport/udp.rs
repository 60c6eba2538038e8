//! The channel over UDP multicast (IPv4).
//!
//! Loopback always belongs to the channel, so that the processes of one machine find each other
//! without a network. So do the other selected interfaces, as they appear and vanish.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket as RawSocket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::{debug, info, warn};

use super::{BoxFuture, BroadcastSocket, Destination, Receiver, Transport};
use crate::interfaces::{Interface, InterfaceEvents, interfaces};
use crate::{BroadcastConfig, BroadcastError};

/// The requested receive buffer in bytes: a burst of several hundred announcements. The kernel may grant
/// less.
const RECEIVE_BUFFER: usize = 1 << 20;

/// How long a host may be without an interface for the channel before it is logged: short commands do
/// not log it, and neither does a host whose network is just coming up.
const GRACE: Duration = Duration::from_secs(1);

/// The UDP multicast transport. Clones share the state.
#[derive(Debug, Clone)]
pub struct UdpTransport(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    group: SocketAddrV4,
    selection: Selection,
    peers: Vec<SocketAddr>,
    hop_limit: u8,
    /// Every interface of this host.
    interfaces: RwLock<Vec<Interface>>,
    memberships: Mutex<Vec<Membership>>,
}

/// Which interfaces belong to the channel, besides loopback.
#[derive(Debug, PartialEq, Eq)]
enum Selection {
    Loopback,
    All,
    Name(String),
    Address(Ipv4Addr),
}

/// The interfaces on which one receiver has joined the group.
#[derive(Debug)]
struct Membership {
    socket: Weak<UdpSocket>,
    joined: BTreeSet<u32>,
}

/// Receives the group.
#[derive(Debug)]
struct Channel(Arc<UdpSocket>);

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
        let interfaces = interfaces();
        Ok(Self(Arc::new(Shared {
            group,
            selection: Selection::new(config, &interfaces)?,
            peers: config.peers.clone(),
            hop_limit: config.hop_limit,
            interfaces: RwLock::new(interfaces),
            memberships: Mutex::default(),
        })))
    }

    /// Returns the address of the receiver. Bound to the group, it receives no unicast, which has no hop
    /// limit. With peers, which send by unicast, it must be bound to every address.
    fn channel_address(&self) -> SocketAddrV4 {
        let any = !self.0.peers.is_empty() || cfg!(not(unix));
        let address = if any { Ipv4Addr::UNSPECIFIED } else { *self.0.group.ip() };
        SocketAddrV4::new(address, self.0.group.port())
    }

    fn own_address(&self) -> SocketAddrV4 {
        let stays_here = self.0.selection == Selection::Loopback
            && self.0.peers.iter().all(|peer| peer.ip().is_loopback());
        let address = if stays_here { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        SocketAddrV4::new(address, 0)
    }

    /// Returns the interfaces of the channel, besides loopback. The channel is IPv4.
    fn selected(&self) -> Vec<(u32, Ipv4Addr)> {
        let interfaces = self.0.interfaces.read();
        let selected = interfaces.iter().filter(|interface| self.0.selection.includes(interface));
        selected.filter_map(|interface| Some((interface.index, interface.ipv4()?))).collect()
    }

    fn open_channel(&self) -> io::Result<Arc<UdpSocket>> {
        let socket = raw_socket()?;
        share_port(&socket)?;
        socket.bind(&SocketAddr::from(self.channel_address()).into())?;
        // By default Linux delivers the groups of every process to the socket (ip(7), IP_MULTICAST_ALL).
        #[cfg(any(target_os = "android", target_os = "linux"))]
        socket.set_multicast_all_v4(false)?;
        socket.join_multicast_v4(self.0.group.ip(), &Ipv4Addr::LOCALHOST)?;
        let socket = Arc::new(UdpSocket::from_std(socket.into())?);
        let mut membership =
            Membership { socket: Arc::downgrade(&socket), joined: BTreeSet::new() };
        membership.update(self.0.group.ip(), &self.selected());
        self.0.memberships.lock().push(membership);
        Ok(socket)
    }

    fn open_own(&self) -> io::Result<UdpSocket> {
        let socket = raw_socket()?;
        socket.set_multicast_ttl_v4(self.0.hop_limit.into())?;
        socket.set_multicast_loop_v4(true)?;
        socket.bind(&SocketAddr::from(self.own_address()).into())?;
        UdpSocket::from_std(socket.into())
    }

    /// Returns whether the channel is limited to loopback although other interfaces belong to it.
    fn is_cut_off(&self) -> bool {
        self.0.selection != Selection::Loopback && self.selected().is_empty()
    }

    async fn keep_current(self) {
        let mut events = InterfaceEvents::subscribe();
        // What changed before the subscription is not reported.
        self.refresh();
        if self.is_cut_off() {
            let change = async {
                while self.is_cut_off() {
                    events.changed().await;
                    self.refresh();
                }
            };
            if tokio::time::timeout(GRACE, change).await.is_err() {
                let group = self.0.group;
                warn!(%group, "No network interface for the broadcast channel, only this host is reached until there is one");
            }
        }
        loop {
            events.changed().await;
            let before = self.selected();
            self.refresh();
            let now = self.selected();
            if now != before {
                info!(interfaces = ?now, "Broadcast channel follows the interfaces");
            }
        }
    }
}

impl Transport for UdpTransport {
    fn destinations(&self) -> Vec<Destination> {
        let networks = self.selected().into_iter().map(|(index, _)| Destination::Interface(index));
        let peers = self.0.peers.first().map(|_| Destination::Peers);
        std::iter::once(Destination::Loopback).chain(networks).chain(peers).collect()
    }

    fn addresses(&self, destination: Destination) -> Vec<IpAddr> {
        let interfaces = self.0.interfaces.read();
        let is_meant = |interface: &&Interface| match destination {
            Destination::Loopback => interface.is_loopback(),
            Destination::Interface(index) => interface.index == index,
            Destination::Peers => false,
        };
        interfaces.iter().filter(is_meant).flat_map(|found| found.addresses.clone()).collect()
    }

    fn open_channel(&self) -> io::Result<Box<dyn Receiver>> {
        Ok(Box::new(Channel(self.open_channel()?)))
    }

    fn open_socket(&self) -> io::Result<Box<dyn BroadcastSocket>> {
        let socket = self.open_own()?;
        Ok(Box::new(OwnSocket { socket, transport: self.clone(), interface: Mutex::new(()) }))
    }

    fn is_local_address(&self, address: IpAddr) -> bool {
        let interfaces = self.0.interfaces.read();
        interfaces.iter().any(|interface| interface.addresses.contains(&address))
    }

    fn refresh(&self) {
        *self.0.interfaces.write() = interfaces();
        let selected = self.selected();
        let mut memberships = self.0.memberships.lock();
        memberships.retain_mut(|membership| membership.update(self.0.group.ip(), &selected));
    }

    fn follow(&self) -> BoxFuture<'static, ()> {
        match self.0.selection {
            Selection::Loopback => Box::pin(std::future::ready(())),
            _ => Box::pin(self.clone().keep_current()),
        }
    }
}

// === impl Membership ===

impl Membership {
    /// Joins the group on new interfaces and leaves it on those that are gone. Returns false if the
    /// receiver is gone.
    fn update(&mut self, group: &Ipv4Addr, selected: &[(u32, Ipv4Addr)]) -> bool {
        let Some(socket) = self.socket.upgrade() else { return false };
        let socket = SockRef::from(&*socket);
        let wanted: BTreeSet<u32> = selected.iter().map(|(index, _)| *index).collect();
        for gone in self.joined.difference(&wanted) {
            // It fails if the interface itself is gone, with its memberships.
            _ = socket.leave_multicast_v4_n(group, &InterfaceIndexOrAddress::Index(*gone));
        }
        self.joined.retain(|index| wanted.contains(index));
        for index in wanted {
            if self.joined.contains(&index) {
                continue;
            }
            match socket.join_multicast_v4_n(group, &InterfaceIndexOrAddress::Index(index)) {
                Ok(()) => drop(self.joined.insert(index)),
                Err(error) => warn!(index, %error, "Broadcast channel not joined on an interface"),
            }
        }
        true
    }
}

// === impl Selection ===

impl Selection {
    fn new(config: &BroadcastConfig, interfaces: &[Interface]) -> Result<Self, BroadcastError> {
        let wanted = config.interface.as_str();
        let selection = match wanted.parse::<Ipv4Addr>() {
            Ok(address) if address.is_loopback() => return Ok(Self::Loopback),
            Ok(address) if address.is_unspecified() => return Ok(Self::All),
            Ok(address) => Self::Address(address),
            Err(_) => Self::Name(wanted.to_owned()),
        };
        let found = interfaces.iter().find(|interface| selection.matches(interface));
        match found {
            Some(interface) if interface.is_loopback() => Ok(Self::Loopback),
            Some(_) => Ok(selection),
            // An interface that has no address yet is not listed.
            None if has_interface(wanted) => Ok(selection),
            None => Err(config.setting_error(
                "interface",
                wanted,
                "is not the name or IPv4 address of an interface of this machine, 0.0.0.0 or 127.0.0.1",
            )),
        }
    }

    fn includes(&self, interface: &Interface) -> bool {
        !interface.is_loopback() && self.matches(interface)
    }

    fn matches(&self, interface: &Interface) -> bool {
        match self {
            Self::Loopback => false,
            Self::All => true,
            Self::Name(name) => *name == interface.name,
            Self::Address(address) => interface.addresses.contains(&IpAddr::V4(*address)),
        }
    }
}

/// Returns whether an interface has this name; on Linux also one without an address.
fn has_interface(name: &str) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::{AddressFamily, SocketType, netdevice, socket};
        !name.is_empty()
            && socket(AddressFamily::INET, SocketType::DGRAM, None)
                .is_ok_and(|socket| netdevice::name_to_index(socket, name).is_ok())
    }
    #[cfg(not(target_os = "linux"))]
    interfaces().iter().any(|interface| interface.name == name)
}

fn raw_socket() -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        debug!(%error, "Receive buffer not enlarged");
    }
    Ok(socket)
}

/// Lets several processes of a host listen: Linux needs `SO_REUSEADDR` for that, the BSDs `SO_REUSEPORT`, and
/// other programs on the channel may have set either.
fn share_port(socket: &RawSocket) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    Ok(())
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
        let group = SocketAddr::from(self.transport.0.group);
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
        for peer in &self.transport.0.peers {
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
            match reach {
                Destination::Loopback => self.multicast_on(payload, Ipv4Addr::LOCALHOST).await,
                Destination::Interface(index) => {
                    let selected = self.transport.selected();
                    let address = selected.iter().find(|(selected, _)| *selected == index);
                    let (_, address) = address.ok_or(io::ErrorKind::NetworkUnreachable)?;
                    self.multicast_on(payload, *address).await
                }
                Destination::Peers => self.send_to_peers(payload).await,
            }
        })
    }

    fn send_to<'a>(&'a self, payload: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.socket.send_to(payload, to).await.map(drop) })
    }
}

#[cfg(test)]
mod tests;

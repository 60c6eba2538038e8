//! The channel over UDP multicast: one group, IPv4 or link-local IPv6.
//!
//! Loopback always belongs to an IPv4 channel, so that the processes of one machine find each other
//! without a network. So do the other selected interfaces, as they appear and vanish.

mod receiver;
mod selection;
mod socket;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tracing::{debug, warn};

use super::{BroadcastSocket, Destination, Receiver, Transport};
use crate::config::Channel;
use crate::interfaces::{Interface, interfaces};
use crate::{BroadcastConfig, BroadcastError};

use receiver::GroupReceiver;
use selection::Selection;
use socket::OwnSocket;

/// The requested receive buffer in bytes: a burst of several thousand announcements. The kernel may grant
/// less (`net.core.rmem_max`).
const RECEIVE_BUFFER: usize = 4 << 20;

/// The UDP multicast transport. Clones share the state.
#[derive(Debug, Clone)]
pub struct UdpTransport(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    group: SocketAddr,
    selection: Selection,
    is_companion: bool,
    peers: Vec<SocketAddr>,
    hop_limit: u8,
    /// Every interface of this host.
    interfaces: RwLock<Vec<Interface>>,
    receivers: Mutex<Vec<Weak<GroupReceiver>>>,
}

/// An interface of the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Selected {
    index: u32,
    name: String,
    /// Its IPv4 address, if it has one.
    ipv4: Option<Ipv4Addr>,
}

// === impl UdpTransport ===

impl UdpTransport {
    /// Creates the transport of the first channel of this configuration.
    pub fn new(config: &BroadcastConfig) -> Result<Self, BroadcastError> {
        config
            .channels()
            .into_iter()
            .next()
            .map_or(Err(BroadcastError::Disabled), |channel| Self::of_channel(&channel, config))
    }

    /// Creates the transports of every channel of this configuration, in its order, and of the IPv6 group that
    /// accompanies the default one.
    pub fn of_every_channel(config: &BroadcastConfig) -> Result<Vec<Self>, BroadcastError> {
        config.channels().iter().map(|channel| Self::of_channel(channel, config)).collect()
    }

    pub(crate) fn of_channel(
        channel: &Channel,
        config: &BroadcastConfig,
    ) -> Result<Self, BroadcastError> {
        let interfaces = interfaces();
        let selection = Selection::new(&channel.interfaces, &interfaces)
            .map_err(|unknown| config.unknown_interface(channel, &unknown))?;
        Ok(Self(Arc::new(Shared {
            group: channel.address,
            selection,
            is_companion: channel.is_companion,
            peers: if channel.has_peers { config.peers.clone() } else { Vec::new() },
            hop_limit: config.hop_limit,
            interfaces: RwLock::new(interfaces),
            receivers: Mutex::default(),
        })))
    }

    /// Returns the group and port.
    pub fn group(&self) -> SocketAddr {
        self.0.group
    }

    /// Returns the name of the interface of a destination.
    pub fn interface_name(&self, destination: Destination) -> Option<String> {
        let interfaces = self.0.interfaces.read();
        let found = match destination {
            Destination::Loopback => interfaces.iter().find(|it| it.is_loopback()),
            Destination::Interface(index) => interfaces.iter().find(|it| it.index == index),
            Destination::Peers => None,
        };
        found.map(|interface| interface.name.clone())
    }

    /// Returns the address of the receiver. Bound to the group, it receives no unicast, which has no hop
    /// limit. With peers, which send by unicast, it must be bound to every address.
    fn channel_address(&self) -> SocketAddr {
        let any = !self.0.peers.is_empty() || cfg!(not(unix));
        match self.0.group {
            SocketAddr::V4(group) if any => SocketAddr::from((Ipv4Addr::UNSPECIFIED, group.port())),
            SocketAddr::V6(group) if any => SocketAddr::from((Ipv6Addr::UNSPECIFIED, group.port())),
            group => group,
        }
    }

    fn own_address(&self) -> SocketAddr {
        let stays_here = self.0.selection.is_loopback()
            && self.0.peers.iter().all(|peer| peer.ip().is_loopback());
        let address: IpAddr = match (self.0.group, stays_here) {
            (SocketAddr::V4(_), true) => Ipv4Addr::LOCALHOST.into(),
            (SocketAddr::V4(_), false) => Ipv4Addr::UNSPECIFIED.into(),
            (SocketAddr::V6(_), true) => Ipv6Addr::LOCALHOST.into(),
            (SocketAddr::V6(_), false) => Ipv6Addr::UNSPECIFIED.into(),
        };
        SocketAddr::new(address, 0)
    }

    /// Returns the interfaces of the channel, besides loopback, that have an address of its family.
    fn selected(&self) -> Vec<Selected> {
        let interfaces = self.0.interfaces.read();
        let chosen = interfaces.iter().filter(|it| self.0.selection.includes(it));
        chosen.filter(|it| self.is_of_family(it)).map(Selected::from).collect()
    }

    /// Returns the loopback interface, which belongs to every IPv4 channel. Its address is enough, so that it is
    /// also found on a system that does not list its interfaces.
    fn loopback(&self) -> Option<Selected> {
        let interfaces = self.0.interfaces.read();
        let found = interfaces.iter().find(|interface| interface.is_loopback());
        let (index, name) = found.map_or((0, "lo"), |found| (found.index, &found.name));
        let ipv4 = Some(Ipv4Addr::LOCALHOST);
        self.0.group.is_ipv4().then(|| Selected { index, name: name.to_owned(), ipv4 })
    }

    /// Returns whether the interface has an address of the family. The group that accompanies another is for hosts that
    /// can be reached over IPv6; without that, every virtual interface of a container would belong to it.
    fn is_of_family(&self, interface: &Interface) -> bool {
        match self.0.group {
            SocketAddr::V4(_) => interface.ipv4().is_some(),
            SocketAddr::V6(_) => {
                let mut ipv6 = interface.addresses.iter().filter(|address| address.is_ipv6());
                ipv6.any(|address| !(self.0.is_companion && is_link_local(address)))
            }
        }
    }

    fn find(&self, destination: Destination) -> Option<Selected> {
        match destination {
            Destination::Loopback => self.loopback(),
            Destination::Interface(wanted) => {
                self.selected().into_iter().find(|selected| selected.index == wanted)
            }
            Destination::Peers => None,
        }
    }
}

impl Transport for UdpTransport {
    fn destinations(&self) -> Vec<Destination> {
        let loopback = self.0.group.is_ipv4().then_some(Destination::Loopback);
        let networks = self.selected().into_iter().map(|it| Destination::Interface(it.index));
        let peers = self.0.peers.first().map(|_| Destination::Peers);
        loopback.into_iter().chain(networks).chain(peers).collect()
    }

    fn addresses(&self, destination: Destination) -> Vec<IpAddr> {
        let interfaces = self.0.interfaces.read();
        let is_meant = |interface: &&Interface| match destination {
            Destination::Loopback => interface.is_loopback(),
            Destination::Interface(index) => interface.index == index,
            Destination::Peers => false,
        };
        let found = interfaces.iter().filter(is_meant).flat_map(|it| it.addresses.clone());
        let mut addresses: Vec<IpAddr> = found.collect();
        // A global address before the link-local one, which clients cannot use.
        addresses.sort_by_key(|it| (it.is_ipv6() != self.0.group.is_ipv6(), is_link_local(it)));
        addresses
    }

    fn open_channel(&self) -> io::Result<Box<dyn Receiver>> {
        let receiver = Arc::new(GroupReceiver::open(self.0.group, self.channel_address())?);
        receiver.join(self.loopback().as_slice(), &self.selected());
        self.0.receivers.lock().push(Arc::downgrade(&receiver));
        Ok(Box::new(receiver))
    }

    fn open_socket(&self) -> io::Result<Box<dyn BroadcastSocket>> {
        Ok(Box::new(OwnSocket::open(self.clone())?))
    }

    fn is_local_address(&self, address: IpAddr) -> bool {
        let interfaces = self.0.interfaces.read();
        interfaces.iter().any(|interface| interface.addresses.contains(&address))
    }

    fn is_attached(&self, address: IpAddr) -> bool {
        self.0.interfaces.read().iter().any(|interface| interface.is_attached_to(address))
    }

    fn is_joined(&self, destination: Destination) -> bool {
        let Some(Selected { index, .. }) = self.find(destination) else { return false };
        let receivers = self.0.receivers.lock();
        let mut open = receivers.iter().filter_map(Weak::upgrade);
        // Without a receiver, as if the port is in use, it is not the interface that is at fault.
        receivers.is_empty() || open.any(|receiver| receiver.has_joined(index))
    }

    fn has_networks(&self) -> bool {
        !self.0.selection.is_loopback()
    }

    fn refresh(&self) {
        *self.0.interfaces.write() = interfaces();
        let (loopback, selected) = (self.loopback(), self.selected());
        self.0.receivers.lock().retain(|receiver| match receiver.upgrade() {
            Some(receiver) => {
                receiver.join(loopback.as_slice(), &selected);
                true
            }
            None => false,
        });
    }
}

// === impl Selected ===

impl From<&Interface> for Selected {
    fn from(interface: &Interface) -> Self {
        Self { index: interface.index, name: interface.name.clone(), ipv4: interface.ipv4() }
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn raw_socket(group: SocketAddr) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if group.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        debug!(%error, "Receive buffer not enlarged");
    }
    Ok(socket)
}

/// Logs an interface on which the group cannot be joined.
fn log_not_joined(group: SocketAddr, interface: &str, error: &io::Error) {
    warn!(%group, interface, %error, "Broadcast channel not joined on an interface");
}

#[cfg(test)]
mod tests;

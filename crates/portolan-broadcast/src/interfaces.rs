//! The network interfaces of this host with their addresses, and changes to them.

#[cfg(target_os = "linux")]
#[path = "interfaces/netlink.rs"]
mod source;
#[cfg(not(target_os = "linux"))]
#[path = "interfaces/polling.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use if_addrs::IfAddr;
use ipnet::IpNet;
use portolan_core::Host;
use tracing::debug;

use source::Source;

/// The time in which further changes count as one: an interface that comes up makes several.
const COALESCE: Duration = Duration::from_millis(20);
/// The interval at which interfaces are read if the kernel reports no changes.
const POLL: Duration = Duration::from_secs(1);

/// A network interface that has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The number that the kernel gives it.
    pub index: u32,
    /// The name, such as `eth0`.
    pub name: String,
    /// Whether it is up and supports multicast, unlike most tunnels.
    pub is_multicast: bool,
    /// The addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The networks of these addresses.
    pub networks: Vec<IpNet>,
}

/// The changes to links and addresses of this host: on Linux from rtnetlink(7), elsewhere by polling.
#[derive(Debug)]
pub struct InterfaceEvents(Option<Source>);

/// Returns the interfaces that have an address; none if the system does not list them.
pub fn interfaces() -> Vec<Interface> {
    let found = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        debug!(%error, "Interfaces not listed");
        Vec::new()
    });
    let unusable = without_multicast();
    let mut interfaces: BTreeMap<u32, Interface> = BTreeMap::new();
    for entry in found {
        let Some(index) = entry.index else { continue };
        let address = entry.ip();
        let is_multicast = !unusable.contains(&entry.name);
        let network = network_of(&entry.addr);
        let (addresses, networks) = (Vec::new(), Vec::new());
        let new = || Interface { index, name: entry.name, is_multicast, addresses, networks };
        let interface = interfaces.entry(index).or_insert_with(new);
        interface.addresses.push(address);
        interface.networks.extend(network);
    }
    interfaces
        .into_values()
        .map(|mut interface| {
            interface.addresses.sort_by_key(IpAddr::is_ipv6);
            interface
        })
        .collect()
}

fn network_of(address: &IfAddr) -> Option<IpNet> {
    let network = match address {
        IfAddr::V4(v4) => IpNet::new(v4.ip.into(), v4.prefixlen),
        IfAddr::V6(v6) => IpNet::new(v6.ip.into(), v6.prefixlen),
    };
    network.ok()
}

/// Returns the names of the interfaces that are down or do not support multicast.
#[cfg(unix)]
fn without_multicast() -> BTreeSet<String> {
    use nix::net::if_::InterfaceFlags;
    let usable = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_MULTICAST;
    let entries = nix::ifaddrs::getifaddrs().into_iter().flatten();
    entries.filter(|it| !it.flags.contains(usable)).map(|it| it.interface_name).collect()
}

#[cfg(not(unix))]
fn without_multicast() -> BTreeSet<String> {
    BTreeSet::new()
}

/// Returns the addresses at which a server on every address of this host can be reached: loopback
/// first, and without link-local IPv6 addresses, which have a meaning on one link only.
pub fn host_addresses() -> Vec<Host> {
    let mut interfaces = interfaces();
    interfaces.sort_by_key(|interface| !interface.is_loopback());
    let addresses = interfaces.into_iter().flat_map(|interface| interface.addresses);
    addresses.filter_map(|address| Host::try_from(address).ok()).collect()
}

/// Returns the address of this host at which the route to another address starts. Connecting a UDP socket
/// chooses it and sends nothing.
pub fn source_address(to: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

/// Returns whether the address belongs to this host: the route to it starts at itself.
pub fn is_own_address(address: IpAddr) -> bool {
    // The port does not matter, but 0 cannot be connected to on every system.
    let source = || source_address(SocketAddr::new(address, 9));
    address.to_canonical().is_loopback() || source().is_ok_and(|source| source == address)
}

// === impl Interface ===

impl Interface {
    /// Returns whether it is the loopback interface.
    pub fn is_loopback(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_loopback)
    }

    /// Returns whether the address is on a network of this interface, so that no router lies between. A link-local address
    /// always is: routers do not pass it on.
    pub fn is_attached_to(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => true,
            address => self.networks.iter().any(|network| network.contains(&address)),
        }
    }

    /// Returns its first IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }
}

// === impl InterfaceEvents ===

impl InterfaceEvents {
    /// Subscribes to the changes. Must be called within a tokio runtime.
    pub fn subscribe() -> Self {
        let source = Source::subscribe();
        Self(source.inspect_err(|error| debug!(%error, "Interface changes not reported")).ok())
    }

    /// Waits until something may have changed. Cancel-safe.
    pub async fn changed(&mut self) {
        match &self.0 {
            Some(source) => {
                source.changed().await;
                tokio::time::sleep(COALESCE).await;
                source.discard();
            }
            None => tokio::time::sleep(POLL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_an_interface_and_its_address_comes_first() {
        let interfaces = interfaces();
        let loopback = interfaces.iter().find(|interface| interface.is_loopback()).unwrap();
        assert_eq!(loopback.ipv4(), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(host_addresses().first(), Some(&Host::loopback()));
    }

    #[test]
    fn route_to_an_own_address_starts_at_itself() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 7000));
        assert_eq!(source_address(loopback).unwrap(), loopback.ip());
        let own = interfaces().into_iter().flat_map(|interface| interface.addresses);
        assert!(own.filter(IpAddr::is_ipv4).all(is_own_address));
        // An address for documentation (RFC 5737).
        assert!(!is_own_address(IpAddr::from([192, 0, 2, 1])));
    }

    #[test]
    fn interface_is_attached_to_the_networks_of_its_addresses() {
        let interface = Interface {
            index: 2,
            name: "eth0".to_owned(),
            is_multicast: true,
            addresses: vec!["10.1.0.2".parse().unwrap()],
            networks: vec!["10.1.0.2/16".parse().unwrap(), "fd00::2/64".parse().unwrap()],
        };
        let is_attached = |address: &str| interface.is_attached_to(address.parse().unwrap());
        assert!(["10.1.255.1", "fd00::9", "fe80::1"].into_iter().all(is_attached));
        assert!(!["10.2.0.1", "192.0.2.1", "fd00:0:0:1::9"].into_iter().any(is_attached));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn kernel_accepts_the_subscription() {
        assert!(InterfaceEvents::subscribe().0.is_some());
    }
}

//! The addresses at which a program is reachable, from the sockets that it listens on.

use std::net::IpAddr;

use portolan_agent::AdvertisedAddresses;
use portolan_core::Host;
use portolan_host_facts::{SocketProtocol, port_listeners};

/// What the sockets on a port say.
#[derive(Debug, PartialEq, Eq)]
pub enum Listening {
    /// On every address of this host.
    Everywhere(AdvertisedAddresses),
    /// On loopback only.
    Loopback,
    /// On one address.
    Address(Host),
}

/// Returns where the port is listened on; everywhere if no process listens yet.
pub fn listening_on(port: u16) -> Listening {
    classify(&tcp_listeners(port))
}

/// Returns whether any process listens on the port.
pub(super) fn is_listened_on(port: u16) -> bool {
    !tcp_listeners(port).is_empty()
}

fn tcp_listeners(port: u16) -> Vec<IpAddr> {
    let listeners = port_listeners(Some(port)).into_iter();
    let tcp = listeners.filter(|listener| listener.protocol == SocketProtocol::Tcp);
    tcp.map(|listener| listener.address).collect()
}

fn classify(addresses: &[IpAddr]) -> Listening {
    let has = |address: [u16; 8]| addresses.contains(&IpAddr::from(address));
    if addresses.is_empty() || has([0; 8]) {
        return Listening::Everywhere(AdvertisedAddresses::All);
    }
    if addresses.iter().any(IpAddr::is_unspecified) {
        return Listening::Everywhere(AdvertisedAddresses::Ipv4);
    }
    let hosts = || addresses.iter().filter_map(|address| Host::try_from(*address).ok());
    hosts().find(|host| !host.is_loopback()).map_or(Listening::Loopback, Listening::Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_from_the_sockets() {
        let classified = |texts: &[&str]| {
            classify(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
        };
        let everywhere = Listening::Everywhere;
        assert_eq!(classified(&[]), everywhere(AdvertisedAddresses::All));
        assert_eq!(classified(&["127.0.0.1", "::"]), everywhere(AdvertisedAddresses::All));
        assert_eq!(classified(&["0.0.0.0"]), everywhere(AdvertisedAddresses::Ipv4));
        assert_eq!(classified(&["127.0.0.1", "::1"]), Listening::Loopback);
        let one = Listening::Address("10.0.0.1".parse().unwrap());
        assert_eq!(classified(&["127.0.0.1", "10.0.0.1"]), one);
    }
}

//! The addresses at which a program is reachable, from the sockets that it listens on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_agent::AdvertisedAddresses::{self, All, Ipv4, Ipv6};
use portolan_core::Host;
use portolan_host_facts::{Socket, listening_sockets};

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
    listening_by(listening_sockets(port))
}

/// Returns where these sockets listen; everywhere if there are none.
pub(super) fn listening_by(sockets: Vec<Socket>) -> Listening {
    let sockets = sockets.into_iter();
    classify(&sockets.map(|socket| (socket.address, socket.ipv6_only)).collect::<Vec<_>>())
}

/// Classifies the addresses of sockets, with whether each is an IPv6 socket without IPv4.
fn classify(sockets: &[(IpAddr, bool)]) -> Listening {
    let any = |ipv6_only| sockets.contains(&(Ipv6Addr::UNSPECIFIED.into(), ipv6_only));
    let any_ipv4 = sockets.iter().any(|(address, _)| *address == Ipv4Addr::UNSPECIFIED);
    match (any_ipv4, any(true)) {
        _ if sockets.is_empty() || any(false) => return Listening::Everywhere(All),
        (true, true) => return Listening::Everywhere(All),
        (true, false) => return Listening::Everywhere(Ipv4),
        (false, true) => return Listening::Everywhere(Ipv6),
        (false, false) => {}
    }
    let addresses = sockets.iter().map(|(address, _)| *address);
    let mut hosts = addresses.filter_map(|address| Host::try_from(address).ok());
    hosts.find(|host| !host.is_loopback()).map_or(Listening::Loopback, Listening::Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_from_the_sockets() {
        // `*` stands for `[::]` without IPv4.
        let socket = |text: &str| match text {
            "*" => (Ipv6Addr::UNSPECIFIED.into(), true),
            text => (text.parse().unwrap(), false),
        };
        let classified =
            |texts: &[&str]| classify(&texts.iter().map(|text| socket(text)).collect::<Vec<_>>());
        let everywhere = Listening::Everywhere;
        assert_eq!(classified(&[]), everywhere(All));
        assert_eq!(classified(&["127.0.0.1", "::"]), everywhere(All));
        assert_eq!(classified(&["0.0.0.0"]), everywhere(Ipv4));
        assert_eq!(classified(&["*", "127.0.0.1"]), everywhere(Ipv6));
        assert_eq!(classified(&["0.0.0.0", "*"]), everywhere(All));
        assert_eq!(classified(&["127.0.0.1", "::1"]), Listening::Loopback);
        let one = Listening::Address("10.0.0.1".parse().unwrap());
        assert_eq!(classified(&["127.0.0.1", "10.0.0.1"]), one);
    }
}

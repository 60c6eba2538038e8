//! The addresses that a service advertises: those on which its program's own socket listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_core::Host;
use portolan_host_facts::{SocketProtocol, interface_addresses, port_listeners};

/// What a service advertises.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advertised {
    pub(super) host: Host,
    /// Further addresses. Never loopback, which another host would take for its own.
    pub(super) addresses: Vec<Host>,
    /// Whether only this host can reach the program.
    pub(super) loopback_only: bool,
}

/// Returns what a service advertises whose program listens on the port. `host` is the address that its
/// clients prefer: that of the route to the registry, or loopback.
pub(super) fn of_listeners(host: Host, port: u16) -> Advertised {
    let is_tcp =
        |listener: &portolan_host_facts::PortListener| listener.protocol == SocketProtocol::Tcp;
    let listeners = port_listeners(Some(port)).into_iter().filter(is_tcp);
    let listening: Vec<IpAddr> = listeners.map(|listener| listener.address).collect();
    advertised(host, &listening, interface_addresses())
}

fn advertised(host: Host, listening: &[IpAddr], interfaces: Vec<IpAddr>) -> Advertised {
    let on_all_v4 = listening.contains(&Ipv4Addr::UNSPECIFIED.into());
    // A wildcard socket of IPv6 is dual-stack by default.
    let on_all = listening.contains(&Ipv6Addr::UNSPECIFIED.into());
    let is_reached = |address: &IpAddr| {
        on_all || (on_all_v4 && address.is_ipv4()) || listening.contains(address)
    };
    let reached: Vec<Host> = interfaces
        .into_iter()
        .filter(is_reached)
        .filter_map(|ip| Host::try_from(ip).ok())
        .collect();
    let on_loopback = on_all || on_all_v4 || listening.iter().any(IpAddr::is_loopback);
    let loopback_only = !listening.is_empty() && reached.is_empty() && on_loopback;
    let host = match () {
        () if loopback_only => Host::loopback(),
        // Nothing is known, or the preferred address is one on which the program listens.
        () if listening.is_empty() || reached.contains(&host) => host,
        () if host.is_loopback() && on_loopback => host,
        () => reached.first().cloned().unwrap_or(host),
    };
    let addresses = reached.into_iter().filter(|other| *other != host).collect();
    Advertised { host, addresses, loopback_only }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str, listening: &[&str]) -> (String, Vec<String>, bool) {
        let ips =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let interfaces = ips(&["10.77.0.1", "192.168.7.1", "fd00::1"]);
        let Advertised { host, addresses, loopback_only } =
            advertised(host.parse().unwrap(), &ips(listening), interfaces);
        let addresses = addresses.iter().map(Host::to_string).collect();
        (host.to_string(), addresses, loopback_only)
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn wildcard_socket_is_reached_on_every_interface() {
        let v4 = texts(&["10.77.0.1", "192.168.7.1"]);
        assert_eq!(of("127.0.0.1", &["0.0.0.0"]), ("127.0.0.1".to_owned(), v4, false));
        let others = texts(&["192.168.7.1", "fd00::1"]);
        assert_eq!(of("10.77.0.1", &["::"]), ("10.77.0.1".to_owned(), others, false));
    }

    #[test]
    fn socket_on_one_address_is_reached_there() {
        let only = |host: &str| (host.to_owned(), Vec::new(), false);
        assert_eq!(of("127.0.0.1", &["192.168.7.1"]), only("192.168.7.1"));
        assert_eq!(of("10.77.0.1", &["192.168.7.1", "127.0.0.1"]), only("192.168.7.1"));
    }

    #[test]
    fn socket_on_loopback_is_reached_on_this_host_only() {
        let loopback = ("127.0.0.1".to_owned(), Vec::new(), true);
        assert_eq!(of("10.77.0.1", &["127.0.0.1"]), loopback);
        assert_eq!(of("127.0.0.1", &["::1"]), loopback);
        assert_eq!(of("10.77.0.1", &[]), ("10.77.0.1".to_owned(), Vec::new(), false));
    }
}

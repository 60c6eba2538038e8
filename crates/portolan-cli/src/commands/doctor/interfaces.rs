//! The network interfaces, and which of them take multicast.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::FutureExt as _;
use futures_util::future::ready;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use portolan_broadcast::BroadcastConfig;

use super::Check;
use super::finding::Finding;

pub(super) const CHECK: Check =
    Check { name: "interfaces", run: |context| ready(look(&context.settings().broadcast)).boxed() };

/// An interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    flags: InterfaceFlags,
    addresses: Vec<Ipv4Addr>,
}

fn look(config: &BroadcastConfig) -> Vec<Finding> {
    match interfaces() {
        Ok(interfaces) => judge(&interfaces, config),
        Err(error) => vec![Finding::warning(
            "the interfaces of this host cannot be listed",
            error,
            "run it where the system permits netlink sockets",
        )],
    }
}

fn interfaces() -> io::Result<BTreeMap<String, Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for address in getifaddrs()? {
        let none = || Interface { flags: address.flags, addresses: Vec::new() };
        let interface = found.entry(address.interface_name).or_insert_with(none);
        let v4 = address.address.as_ref().and_then(|address| address.as_sockaddr_in());
        interface.addresses.extend(v4.map(|address| address.ip()));
    }
    Ok(found)
}

fn judge(interfaces: &BTreeMap<String, Interface>, config: &BroadcastConfig) -> Vec<Finding> {
    let is_up = |interface: &Interface| {
        interface.flags.contains(InterfaceFlags::IFF_UP)
            && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    let asked_for = |name: &str, interface: &Interface| {
        let address = config.interface.parse::<IpAddr>();
        config.enabled
            && (config.interface == name
                || interface.addresses.iter().any(|own| address == Ok(IpAddr::V4(*own))))
    };
    let chosen = interfaces.iter().filter(|(name, it)| is_up(it) || asked_for(name, it));
    let findings: Vec<Finding> =
        chosen.map(|(name, it)| of_interface(name, it, asked_for(name, it))).collect();
    match findings.is_empty() {
        true => vec![Finding::ok("this host has no network but itself", "loopback alone is up")],
        false => findings,
    }
}

fn of_interface(name: &str, interface: &Interface, is_chosen: bool) -> Finding {
    let Interface { flags, addresses } = interface;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let addresses = match addresses.is_empty() {
        true => "no IPv4 address".to_owned(),
        false => addresses.join(", "),
    };
    let evidence = format!("{name} ({addresses})");
    let is_loopback = flags.contains(InterfaceFlags::IFF_LOOPBACK);
    let takes = flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_MULTICAST);
    match (takes || is_loopback, is_chosen) {
        (true, _) => Finding::ok("an interface takes multicast", evidence),
        (false, false) => {
            Finding::ok("an interface takes no multicast, and is not asked to", evidence)
        }
        (false, true) => Finding::error(
            "the interface of the broadcast channel takes no multicast",
            format_args!("{evidence} is down, or lacks the flag MULTICAST"),
            "as root, switch it on; or name another interface in broadcast.interface, or list broadcast.peers",
        )
        .command(format!("ip link set {name} up multicast on")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    fn host(flags: InterfaceFlags) -> BTreeMap<String, Interface> {
        let lo = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_LOOPBACK;
        let loopback = Interface { flags: lo, addresses: vec![Ipv4Addr::LOCALHOST] };
        let net = Interface { flags, addresses: vec![Ipv4Addr::new(192, 0, 2, 1)] };
        [("lo".to_owned(), loopback), ("net0".to_owned(), net)].into()
    }

    fn severities(flags: InterfaceFlags, interface: &str) -> Vec<Severity> {
        let config =
            BroadcastConfig { interface: interface.to_owned(), ..BroadcastConfig::default() };
        judge(&host(flags), &config).iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn an_interface_without_multicast_matters_where_it_is_chosen() {
        let (up, multicast) = (InterfaceFlags::IFF_UP, InterfaceFlags::IFF_MULTICAST);
        for chosen in ["net0", "192.0.2.1"] {
            assert_eq!(severities(up, chosen), [Severity::Error]);
            assert_eq!(severities(multicast, chosen), [Severity::Error], "it is down");
            assert_eq!(severities(up | multicast, chosen), [Severity::Ok]);
        }
        assert_eq!(severities(up, "0.0.0.0"), [Severity::Ok]);
        assert_eq!(severities(InterfaceFlags::empty(), "0.0.0.0"), [Severity::Ok]);
    }

    #[test]
    fn this_host_has_loopback() {
        let loopback = Ipv4Addr::LOCALHOST;
        assert!(interfaces().unwrap().values().any(|it| it.addresses.contains(&loopback)));
    }
}

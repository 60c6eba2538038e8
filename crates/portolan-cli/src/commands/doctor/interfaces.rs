//! The network interfaces, and whether they support multicast.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use futures_util::FutureExt as _;
use futures_util::future::ready;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use portolan_broadcast::BroadcastConfig;

use super::Check;
use super::finding::Finding;

pub(super) const CHECK: Check = Check {
    name: "interfaces",
    run: |context| ready(check(&context.settings().broadcast)).boxed(),
};

/// An interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    flags: InterfaceFlags,
    addresses: Vec<IpAddr>,
}

fn check(config: &BroadcastConfig) -> Vec<Finding> {
    match interfaces() {
        Ok(interfaces) => evaluate(&interfaces, config),
        Err(error) => vec![Finding::warning(
            "the interfaces of this host cannot be listed",
            error,
            "run `portolan doctor` where netlink sockets are permitted",
        )],
    }
}

fn interfaces() -> io::Result<BTreeMap<String, Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for address in getifaddrs()? {
        let none = || Interface { flags: address.flags, addresses: Vec::new() };
        let interface = found.entry(address.interface_name).or_insert_with(none);
        let Some(address) = &address.address else { continue };
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let v6 = address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
        interface.addresses.extend(v4.or(v6));
    }
    Ok(found)
}

fn evaluate(interfaces: &BTreeMap<String, Interface>, config: &BroadcastConfig) -> Vec<Finding> {
    let is_up = |interface: &Interface| {
        interface.flags.contains(InterfaceFlags::IFF_UP)
            && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    let is_selected = |name: &str, interface: &Interface| {
        let address = config.interface.parse::<IpAddr>();
        config.enabled
            && (config.interface == name
                || interface.addresses.iter().any(|own| address == Ok(*own)))
    };
    let relevant = interfaces.iter().filter(|(name, it)| is_up(it) || is_selected(name, it));
    let findings: Vec<Finding> =
        relevant.map(|(name, it)| interface_finding(name, it, is_selected(name, it))).collect();
    if findings.is_empty() {
        vec![Finding::ok("no network interface is up", "only loopback is up")]
    } else {
        findings
    }
}

fn interface_finding(name: &str, interface: &Interface, is_selected: bool) -> Finding {
    let Interface { flags, addresses } = interface;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let addresses =
        if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
    let evidence = format!("{name} ({addresses})");
    let is_loopback = flags.contains(InterfaceFlags::IFF_LOOPBACK);
    let supports = flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_MULTICAST);
    match (supports || is_loopback, is_selected) {
        (true, _) => Finding::ok("an interface supports multicast", evidence),
        (false, false) => {
            Finding::ok("an interface does not support multicast, and is not used for it", evidence)
        }
        (false, true) => Finding::error(
            "the interface of the broadcast channel does not support multicast",
            format_args!("{evidence} is down, or does not have the flag MULTICAST"),
            "as root, enable it, or set broadcast.interface to another interface, or list hosts in broadcast.peers",
        )
        .command(format!("ip link set {name} up multicast on")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::commands::doctor::finding::Severity;

    fn host(flags: InterfaceFlags) -> BTreeMap<String, Interface> {
        let lo = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_LOOPBACK;
        let loopback = Interface { flags: lo, addresses: vec![Ipv4Addr::LOCALHOST.into()] };
        let net = Interface { flags, addresses: vec![Ipv4Addr::new(192, 0, 2, 1).into()] };
        [("lo".to_owned(), loopback), ("net0".to_owned(), net)].into()
    }

    fn severities(flags: InterfaceFlags, interface: &str) -> Vec<Severity> {
        let config =
            BroadcastConfig { interface: interface.to_owned(), ..BroadcastConfig::default() };
        evaluate(&host(flags), &config).iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn selected_interface_must_be_up_and_support_multicast() {
        let (up, multicast) = (InterfaceFlags::IFF_UP, InterfaceFlags::IFF_MULTICAST);
        for selected in ["net0", "192.0.2.1"] {
            assert_eq!(severities(up, selected), [Severity::Error]);
            assert_eq!(severities(multicast, selected), [Severity::Error], "it is down");
            assert_eq!(severities(up | multicast, selected), [Severity::Ok]);
        }
        assert_eq!(severities(up, "0.0.0.0"), [Severity::Ok]);
        assert_eq!(severities(InterfaceFlags::empty(), "0.0.0.0"), [Severity::Ok]);
    }

    #[test]
    fn loopback_is_listed() {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert!(interfaces().unwrap().values().any(|it| it.addresses.contains(&loopback)));
    }
}

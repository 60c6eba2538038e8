//! The addresses at which a port of a container can be reached, and from where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_agent::advertised_host;
use portolan_broadcast::interfaces::{host_addresses, is_own_address};
use portolan_core::{AddressPort, Host, IpNetwork};
use url::Url;

use crate::container::{Binding, Container};
use crate::labels::ContainerPort;

/// The maximum number of addresses of an instance: one, and the further ones that a registration may have.
const MAX_ADDRESSES: usize = 32;

/// The addresses of this host, seen from a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostView {
    /// Every address, those on loopback first.
    pub(crate) addresses: Vec<Host>,
    /// The one at which the registry's host reaches this one.
    pub(crate) own: Host,
    /// Whether the registry is on this host. Loopback, and the networks of the containers, mean the same there only.
    pub(crate) is_with_registry: bool,
}

// === impl HostView ===

impl HostView {
    /// Reads the addresses of this host. May block while a host name is resolved.
    pub(crate) fn read(registry_url: &str) -> Self {
        let own = advertised_host(registry_url);
        let is_with_registry = own.is_loopback() || names_own_address(registry_url);
        Self { addresses: host_addresses(), own, is_with_registry }
    }

    fn is_usable(&self, host: &Host) -> bool {
        self.is_with_registry || !host.is_loopback()
    }

    /// Returns the addresses that a wildcard stands for, the best one first.
    fn all(&self, is_family: impl Fn(IpAddr) -> bool) -> Vec<Host> {
        let is_family = |host: &&Host| host.address().is_some_and(&is_family);
        let own = Some(&self.own).filter(is_family);
        let others = self.addresses.iter().filter(is_family).filter(|host| **host != self.own);
        own.into_iter().chain(others).filter(|host| self.is_usable(host)).cloned().collect()
    }
}

/// Returns the addresses of a port, the best one first: on this host, then on the networks of the container.
pub(crate) fn addresses(
    container: &Container,
    port: &ContainerPort,
    host: &HostView,
) -> Vec<AddressPort> {
    if container.is_on_host_network() {
        let everywhere = |host| AddressPort { host, port: port.number, within: None };
        return host.all(|_| true).into_iter().map(everywhere).take(MAX_ADDRESSES).collect();
    }
    let mut published = published(container, port, host).into_iter();
    let first = published.next();
    // Those of the container come before the further ones of this host, of which there may be many.
    let all = first.into_iter().chain(on_networks(container, port, host)).chain(published);
    let mut addresses: Vec<AddressPort> = Vec::new();
    for address in all {
        if !addresses.iter().any(|known| known.host == address.host) {
            addresses.push(address);
        }
    }
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

fn published(container: &Container, port: &ContainerPort, host: &HostView) -> Vec<AddressPort> {
    let bindings = container.network_settings.ports.get(&port.key());
    let bindings = bindings.and_then(Option::as_deref).unwrap_or_default();
    bindings.iter().flat_map(|binding| of_binding(binding, host)).collect()
}

fn of_binding(binding: &Binding, host: &HostView) -> Vec<AddressPort> {
    let Some(port) = binding.host_port.parse().ok().filter(|port| *port != 0) else {
        return Vec::new();
    };
    let hosts = match binding.host_ip.as_str() {
        "" => host.all(|_| true),
        text => match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) if ip.is_unspecified() => host.all(|address| address.is_ipv4()),
            Ok(IpAddr::V6(ip)) if ip.is_unspecified() => host.all(|address| address.is_ipv6()),
            Ok(ip) => Host::try_from(ip).into_iter().filter(|it| host.is_usable(it)).collect(),
            Err(_) => Vec::new(),
        },
    };
    hosts.into_iter().map(|host| AddressPort { host, port, within: None }).collect()
}

/// Returns the addresses of the container, each with the network from which it can be reached: an engine forwards nothing
/// between networks.
fn on_networks(container: &Container, port: &ContainerPort, host: &HostView) -> Vec<AddressPort> {
    if !host.is_with_registry {
        return Vec::new();
    }
    let networks = container.network_settings.networks.values().flatten();
    let address = |(ip, prefix): (IpAddr, u8)| {
        let within: IpNetwork = format!("{}/{prefix}", first_of(ip, prefix)).parse().ok()?;
        let host = Host::try_from(ip).ok()?;
        Some(AddressPort { host, port: port.number, within: Some(within) })
    };
    networks.flat_map(|network| network.addresses().filter_map(address)).collect()
}

/// Returns the first address of the network.
fn first_of(ip: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match ip {
        IpAddr::V4(ip) => {
            Ipv4Addr::from_bits(ip.to_bits() & !u32::MAX.checked_shr(prefix).unwrap_or(0)).into()
        }
        IpAddr::V6(ip) => {
            Ipv6Addr::from_bits(ip.to_bits() & !u128::MAX.checked_shr(prefix).unwrap_or(0)).into()
        }
    }
}

/// Whether every server of the registry is given by an address of this host.
fn names_own_address(registry_url: &str) -> bool {
    let address = |url: &str| {
        let url = Url::parse(url.trim()).ok()?;
        url.host_str()?.parse::<Host>().ok()?.address()
    };
    registry_url.split(',').all(|url| address(url).is_some_and(is_own_address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(addresses: &[&str], own: &str) -> HostView {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let own: Host = own.parse().unwrap();
        HostView { addresses, is_with_registry: own.is_loopback(), own }
    }

    fn here() -> HostView {
        host(&["127.0.0.1", "::1", "10.0.0.7", "172.17.0.1", "fd00::7"], "127.0.0.1")
    }

    fn found(mode: &str, bindings: &[(&str, &str)], host: &HostView) -> String {
        let bindings =
            bindings.iter().map(|(ip, port)| serde_json::json!({"HostIp": ip, "HostPort": port}));
        let container = serde_json::json!({
            "Id": "c1", "State": {"Running": true}, "Config": {},
            "HostConfig": {"NetworkMode": mode},
            "NetworkSettings": {
                "Ports": {"80/tcp": bindings.collect::<Vec<_>>(), "81/tcp": null},
                "Networks": {
                    "a": {"IPAddress": "172.18.0.2", "IPPrefixLen": 16, "GlobalIPv6Address": "fd00:18::2", "GlobalIPv6PrefixLen": 64},
                    "b": {"IPAddress": "", "IPPrefixLen": 0},
                    "c": null,
                },
            },
        });
        let container = serde_json::from_value(container).unwrap();
        let port = ContainerPort { number: 80, transport: "tcp".to_owned() };
        AddressPort::entry(&addresses(&container, &port, host))
    }

    const NETWORKS: &str = "172.18.0.2:80@172.18.0.0/16 [fd00:18::2]:80@fd00:18::/64";

    #[test]
    fn published_port_is_reached_at_the_addresses_of_the_host() {
        let both = [("0.0.0.0", "8080"), ("::", "8081")];
        let rest = "10.0.0.7:8080 172.17.0.1:8080 [::1]:8081 [fd00::7]:8081";
        assert_eq!(found("default", &both, &here()), format!("127.0.0.1:8080 {NETWORKS} {rest}"));
        let one = [("127.0.0.1", "8080")];
        assert_eq!(found("default", &one, &here()), format!("127.0.0.1:8080 {NETWORKS}"));
        assert_eq!(found("default", &[("x", "1"), ("10.0.0.7", "0")], &here()), NETWORKS);
    }

    #[test]
    fn another_host_is_given_what_it_can_reach() {
        let remote = host(&["127.0.0.1", "10.0.0.7", "10.9.0.7"], "10.9.0.7");
        assert_eq!(
            found("default", &[("0.0.0.0", "8080")], &remote),
            "10.9.0.7:8080 10.0.0.7:8080"
        );
        assert_eq!(found("default", &[("127.0.0.1", "8080")], &remote), "");
        assert_eq!(found("default", &[], &remote), "");
    }

    #[test]
    fn container_on_the_network_of_the_host_has_its_addresses() {
        let expected = "127.0.0.1:80 [::1]:80 10.0.0.7:80 172.17.0.1:80 [fd00::7]:80";
        assert_eq!(found("host", &[], &here()), expected);
    }
}

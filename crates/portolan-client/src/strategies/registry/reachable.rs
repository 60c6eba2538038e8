//! Which of an endpoint's addresses this host can reach in principle: a host on IPv6 only has no way to an IPv4 address.

use std::net::{IpAddr, SocketAddr};

use portolan_broadcast::interfaces::{host_addresses, source_address};
use portolan_core::{Host, ServiceEndpoint};

/// Removes the instances that this host cannot reach, and gives the others a host that it can reach. Returns the addresses of
/// those that were removed.
pub(super) fn retain_reachable(services: &mut Vec<ServiceEndpoint>) -> Vec<String> {
    let mut families = None;
    let mut removed = Vec::new();
    services.retain_mut(|endpoint| {
        let found = endpoint.hosts().find(|host| is_reachable(host, &mut families)).cloned();
        match found {
            Some(host) if host == endpoint.host => true,
            Some(host) => {
                *endpoint = endpoint.at(host);
                true
            }
            None => {
                removed.push(endpoint.address());
                false
            }
        }
    });
    removed
}

/// The families in which this host has an address besides loopback and link-local ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Families {
    ipv4: bool,
    ipv6: bool,
}

fn is_reachable(host: &Host, families: &mut Option<Families>) -> bool {
    let Some(address) = host.address() else { return true };
    // The port does not matter.
    if source_address(SocketAddr::new(address, 9)).is_ok() {
        return true;
    }
    families.get_or_insert_with(|| Families::of(&host_addresses())).may_reach(address)
}

// === impl Families ===

impl Families {
    fn of(addresses: &[Host]) -> Self {
        let own = || addresses.iter().filter(|host| !host.is_loopback()).filter_map(Host::address);
        Self { ipv4: own().any(|it| it.is_ipv4()), ipv6: own().any(|it| it.is_ipv6()) }
    }

    /// Without any network it is not the family that is missing.
    fn may_reach(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.ipv4 || !self.ipv6,
            IpAddr::V6(_) => self.ipv6 || !self.ipv4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_a_missing_family_cannot_be_reached() {
        let may_reach = |own: &[&str], address: &str| {
            let own: Vec<Host> = own.iter().map(|host| host.parse().unwrap()).collect();
            Families::of(&own).may_reach(address.parse().unwrap())
        };
        assert!(!may_reach(&["127.0.0.1", "fd00::1"], "10.0.0.1"));
        assert!(!may_reach(&["10.0.0.2", "::1"], "fd00::2"));
        assert!(may_reach(&["10.0.0.2", "fd00::1"], "10.9.0.1"));
        // A host without a network, on which nothing can be said.
        assert!(may_reach(&["127.0.0.1", "::1"], "10.0.0.1"));
    }
}

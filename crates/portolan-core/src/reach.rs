//! Which address of an endpoint a caller can reach, depending on where the caller is.

use std::net::IpAddr;
use std::sync::Arc;

use url::Url;

use crate::{AddressPort, Change, Host, ServiceEndpoint};

/// The position of a caller relative to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vantage {
    /// From the host on which the answer is given: its loopback addresses can be reached.
    SameHost,
    /// From another host.
    OtherHost {
        /// The address at which the caller reached this host, if it is known.
        local: Option<IpAddr>,
        /// The address of the caller, if it is known.
        peer: Option<IpAddr>,
    },
}

// === impl Vantage ===

impl Vantage {
    /// Another host of which nothing is known, as behind a proxy that is not trusted.
    pub const UNKNOWN: Self = Self::OtherHost { local: None, peer: None };
}

// === impl ServiceEndpoint ===

impl ServiceEndpoint {
    /// Returns the host and the further addresses of the endpoint.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        std::iter::once(&self.host).chain(&self.addresses)
    }

    /// Returns the port at one of its hosts.
    pub fn port_at(&self, host: &Host) -> u16 {
        AddressPort::of(&self.metadata, host).map_or(self.port, |address| address.port)
    }

    /// Returns the endpoint with the host that the caller can best reach, or `None` if it listens on
    /// loopback only, or on networks in which the caller is not, and the caller is on another host. A `health_url` on loopback is left out for such a caller: there it would
    /// be another server.
    ///
    /// That is the address at which the caller reached this host if the endpoint has it; else the one
    /// that shares the longest prefix with the address of the caller; else the first.
    pub fn seen_from(&self, vantage: Vantage) -> Option<Self> {
        let Vantage::OtherHost { local, peer } = vantage else { return Some(self.clone()) };
        let is_reachable = |host: &Host| !host.is_loopback() && self.is_within_reach(host, peer);
        let reachable = || self.hosts().filter(|host| is_reachable(host));
        let is_local = |host: &&Host| local.is_some() && host.address() == local;
        let closeness = |host: &Host| peer.zip(host.address()).map_or(0, common_prefix);
        let best = reachable().find(is_local).or_else(|| {
            // Of several maxima, `max_by_key` returns the last one.
            reachable().collect::<Vec<_>>().into_iter().rev().max_by_key(|host| closeness(host))
        })?;
        let mut seen = self.at(best.clone());
        seen.addresses.retain(is_reachable);
        seen.health_url = seen.health_url.filter(|url| !is_on_loopback(url));
        Some(seen)
    }

    /// Returns the endpoint with this host in place of its own; the others become its further addresses.
    #[must_use]
    pub fn at(&self, host: Host) -> Self {
        let others = self.hosts().filter(|other| **other != host).cloned().collect();
        Self { port: self.port_at(&host), host, addresses: others, ..self.clone() }
    }

    /// Whether the caller is in the network from which the address can be reached. One of which nothing is known is not.
    fn is_within_reach(&self, host: &Host, peer: Option<IpAddr>) -> bool {
        let within = AddressPort::of(&self.metadata, host).and_then(|address| address.within);
        within.is_none_or(|network| peer.is_some_and(|peer| network.contains(peer)))
    }
}

// === impl Change ===

impl Change {
    /// Returns the change as a caller sees it, with reachable hosts, or `None` if the caller cannot reach
    /// the instance. An instance that can no longer be reached is gone for the caller.
    #[must_use]
    pub fn seen_from(self, vantage: Vantage) -> Option<Self> {
        if vantage == Vantage::SameHost {
            return Some(self);
        }
        let seen = |endpoint: &Arc<ServiceEndpoint>| endpoint.seen_from(vantage).map(Arc::new);
        let map = |endpoint: &Arc<ServiceEndpoint>, change: fn(Arc<ServiceEndpoint>) -> Self| {
            seen(endpoint).map(change)
        };
        match &self {
            Self::Snapshot { endpoints, incomplete } => {
                let endpoints = endpoints.iter().filter_map(seen).collect();
                Some(Self::Snapshot { endpoints, incomplete: *incomplete })
            }
            Self::Registered { endpoint } => {
                map(endpoint, |endpoint| Self::Registered { endpoint })
            }
            Self::Health { endpoint } => map(endpoint, |endpoint| Self::Health { endpoint }),
            Self::Updated { endpoint } => {
                let updated = map(endpoint, |endpoint| Self::Updated { endpoint });
                updated.or_else(|| Some(Self::Deregistered { endpoint: Arc::clone(endpoint) }))
            }
            Self::Deregistered { .. } | Self::Expired { .. } => Some(self),
        }
    }
}

fn is_on_loopback(url: &str) -> bool {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).and_then(|host| host.parse::<Host>().ok());
    host.is_some_and(|host| host.is_loopback())
}

/// Returns the number of leading bits that both addresses share; 0 for different families.
fn common_prefix((one, other): (IpAddr, IpAddr)) -> u32 {
    match (one.to_canonical(), other.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{Registration, Ttl};

    fn endpoint(hosts: &[&str]) -> ServiceEndpoint {
        let mut hosts = hosts.iter().map(|host| host.parse().unwrap());
        let mut registration =
            Registration::new("api".parse().unwrap(), hosts.next().unwrap(), 8080);
        registration.addresses = hosts.collect();
        registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH)
    }

    fn seen(hosts: &[&str], local: Option<&str>, peer: Option<&str>) -> Option<String> {
        let parse = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let vantage = Vantage::OtherHost { local: parse(local), peer: parse(peer) };
        endpoint(hosts).seen_from(vantage).map(|seen| seen.host.to_string())
    }

    #[test]
    fn other_host_gets_no_loopback_address() {
        let (local, peer) = (Some("10.77.0.1"), Some("10.77.0.2"));
        assert_eq!(seen(&["127.0.0.1"], local, peer), None);
        assert_eq!(seen(&["localhost", "::1"], local, peer), None);
        let hosts = ["127.0.0.1", "192.168.0.1", "10.77.0.1"];
        assert_eq!(seen(&hosts, local, peer).unwrap(), "10.77.0.1");
        assert_eq!(seen(&hosts, None, None).unwrap(), "192.168.0.1");
        let further = endpoint(&hosts).seen_from(Vantage::UNKNOWN).unwrap().addresses;
        assert_eq!(further, ["10.77.0.1".parse::<Host>().unwrap()]);
    }

    #[test]
    fn other_host_gets_no_health_url_on_loopback() {
        let seen = |url: &str| {
            let endpoint = ServiceEndpoint {
                health_url: Some(url.to_owned()),
                ..endpoint(&["127.0.0.1", "10.0.0.7"])
            };
            assert_eq!(endpoint.seen_from(Vantage::SameHost).unwrap(), endpoint);
            endpoint.seen_from(Vantage::UNKNOWN).unwrap().health_url
        };
        for url in [
            "http://127.0.0.1:80/x",
            "tcp://localhost:1",
            "http://[::ffff:127.0.0.1]/",
            "tcp://[::1]:1",
        ] {
            assert_eq!(seen(url), None, "{url}");
        }
        for url in ["http://10.0.0.7:80/x", "tcp://db.example.org:1"] {
            assert_eq!(seen(url).as_deref(), Some(url));
        }
    }

    #[test]
    fn address_in_the_network_of_the_caller_is_preferred() {
        let hosts = ["172.17.0.1", "192.168.7.1", "fd00:7::1"];
        assert_eq!(seen(&hosts, None, Some("192.168.7.9")).unwrap(), "192.168.7.1");
        assert_eq!(seen(&hosts, None, Some("fd00:7::9")).unwrap(), "fd00:7::1");
        assert_eq!(seen(&hosts, Some("10.0.0.1"), Some("172.17.0.5")).unwrap(), "172.17.0.1");
        assert_eq!(seen(&["db.example.org"], None, Some("10.0.0.1")).unwrap(), "db.example.org");
    }

    fn container(entry: &str) -> ServiceEndpoint {
        let listed: Vec<AddressPort> = entry.split(' ').map(|it| it.parse().unwrap()).collect();
        let hosts: Vec<String> = listed.iter().map(|address| address.host.to_string()).collect();
        let mut endpoint = endpoint(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
        endpoint.port = listed[0].port;
        endpoint.metadata.insert(crate::ADDRESS_PORTS.to_owned(), entry.to_owned());
        crate::Registration::from(endpoint.clone()).validate().unwrap();
        endpoint
    }

    #[test]
    fn each_caller_gets_the_port_of_the_address_that_it_can_reach() {
        let seen = |entry: &str, local: &str, peer: &str| {
            let (local, peer) = (local.parse().ok(), peer.parse().ok());
            let vantage = Vantage::OtherHost { local, peer };
            let once = container(entry).seen_from(vantage)?;
            // A client looks at the answer once more.
            assert_eq!(once.seen_from(vantage).as_ref(), Some(&once));
            Some(once.address())
        };
        let published = "127.0.0.1:8080 172.18.0.2:80@172.18.0.0/16 10.0.0.7:8080 172.19.0.1:8080";
        let here = container(published).seen_from(Vantage::SameHost).unwrap();
        assert_eq!(here.address(), "127.0.0.1:8080");
        assert_eq!(seen(published, "10.0.0.7", "10.0.0.9").unwrap(), "10.0.0.7:8080");
        assert_eq!(seen(published, "172.18.0.1", "172.18.0.5").unwrap(), "172.18.0.2:80");
        assert_eq!(seen(published, "172.19.0.1", "172.19.0.5").unwrap(), "172.19.0.1:8080");
        let bridge = "172.18.0.2:80@172.18.0.0/16";
        assert_eq!(seen(bridge, "172.18.0.1", "172.18.0.5").unwrap(), "172.18.0.2:80");
        assert_eq!(seen(bridge, "172.19.0.1", "172.19.0.5"), None);
        assert_eq!(container(bridge).seen_from(Vantage::UNKNOWN), None);
    }

    #[test]
    fn ports_of_addresses_are_complete_or_refused() {
        let refused = |entry: &str| {
            let mut endpoint = endpoint(&["127.0.0.1", "10.0.0.7"]);
            endpoint.metadata.insert(crate::ADDRESS_PORTS.to_owned(), entry.to_owned());
            Registration::from(endpoint).validate().unwrap_err().to_string()
        };
        assert!(refused("127.0.0.1:8080").contains("10.0.0.7 is missing"));
        assert!(refused("127.0.0.1:81 10.0.0.7:80").contains("but the port is 8080"));
        assert!(refused("127.0.0.1").contains("is not an address with a port"));
    }

    #[test]
    fn instance_that_moves_out_of_reach_is_gone() {
        let endpoint = Arc::new(endpoint(&["127.0.0.1"]));
        let seen = |change: Change| change.seen_from(Vantage::UNKNOWN);
        let updated = seen(Change::Updated { endpoint: Arc::clone(&endpoint) });
        assert_eq!(updated, Some(Change::Deregistered { endpoint: Arc::clone(&endpoint) }));
        assert_eq!(seen(Change::Registered { endpoint: Arc::clone(&endpoint) }), None);
        let snapshot = |endpoints| Change::Snapshot { endpoints, incomplete: true };
        assert_eq!(seen(snapshot(vec![endpoint])), Some(snapshot(Vec::new())));
    }

    #[test]
    fn same_host_gets_the_endpoint_as_it_is() {
        let endpoint = endpoint(&["127.0.0.1", "10.77.0.1"]);
        assert_eq!(endpoint.seen_from(Vantage::SameHost), Some(endpoint.clone()));
        let moved = endpoint.at("10.77.0.1".parse().unwrap());
        assert_eq!(moved.addresses, ["127.0.0.1".parse::<Host>().unwrap()]);
    }
}

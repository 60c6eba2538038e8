//! The addresses of a service that listens on every address of this host.

use std::net::{IpAddr, Ipv6Addr};

use portolan_broadcast::Broadcaster;
use portolan_broadcast::interfaces::{InterfaceEvents, host_addresses};
use portolan_core::{Host, Registration, ServiceEndpoint};
use portolan_health::{CheckSpec, HealthMonitor};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::info;

use crate::host::{advertised_host, is_on_this_host};
use crate::host_id::host_id;

/// The maximum number of further addresses.
const MAX_ADDRESSES: usize = 16;

/// Which addresses of this host a service is reachable at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AdvertisedAddresses {
    /// The host of the registration, and no other.
    #[default]
    Host,
    /// Every IPv4 address: the service listens on `0.0.0.0`.
    Ipv4,
    /// Every IPv6 address: the service listens on `[::]` with `IPV6_V6ONLY`.
    Ipv6,
    /// Every address: the service listens on `[::]`, which includes IPv4.
    All,
}

/// Keeps the addresses of the desired state current.
pub(crate) struct AddressUpdates {
    pub(crate) advertised: AdvertisedAddresses,
    pub(crate) registry_url: Option<String>,
    pub(crate) broadcaster: Option<Broadcaster>,
    pub(crate) monitor: HealthMonitor,
    pub(crate) check: CheckSpec,
    pub(crate) desired: watch::Sender<ServiceEndpoint>,
}

/// Returns the registration with the addresses of this host, as an agent publishes it. Its id contains an address that is
/// unique in the network, or else the id of this host: every host has the loopback address, and the service keeps its
/// id when the host gets another one.
pub async fn with_advertised_addresses(
    mut registration: Registration,
    advertised: AdvertisedAddresses,
    registry_url: Option<&str>,
) -> Registration {
    if advertised != AdvertisedAddresses::Host {
        let (host, addresses) =
            locate(registration.host.clone(), advertised, registry_url.map(str::to_owned)).await;
        let mut hosts = std::iter::once(&host).chain(&addresses);
        let unique = hosts.find(|host| !host.is_loopback()).cloned();
        let unique = unique.or_else(host_id).unwrap_or_else(|| host.clone());
        let id = Registration { host: unique, ..registration.clone() }.id();
        registration = Registration { id: Some(id), host, addresses, ..registration };
    }
    registration
}

/// Returns the host and the further addresses. The host stays as long as this host has it; the one for a
/// remote registry is the source address of the route to it.
async fn locate(
    host: Host,
    advertised: AdvertisedAddresses,
    registry_url: Option<String>,
) -> (Host, Vec<Host>) {
    let unchanged = host.clone();
    // It may resolve the name of the registry.
    let located = spawn_blocking(move || {
        let registry_url = registry_url.as_deref().filter(|url| !is_on_this_host(url));
        choose(host, advertised, &host_addresses(), || registry_url.map(advertised_host))
    });
    located.await.unwrap_or((unchanged, Vec::new()))
}

fn choose(
    host: Host,
    advertised: AdvertisedAddresses,
    addresses: &[Host],
    route: impl FnOnce() -> Option<Host>,
) -> (Host, Vec<Host>) {
    let is_served = |host: &&Host| host.address().is_some_and(|it| advertised.includes(it));
    let served: Vec<&Host> = addresses.iter().filter(is_served).collect();
    let is_gone = host.address().is_some() && !served.contains(&&host);
    let host = match route {
        _ if !host.is_loopback() && !is_gone => host,
        // A server on one family has no address on the route to a registry by the other.
        route => route()
            .and_then(|source| {
                let other = || served.iter().copied().find(|host| !host.is_loopback()).cloned();
                Some(source).filter(|source| served.contains(&source)).or_else(other)
            })
            .or_else(|| is_gone.then(|| advertised.loopback()))
            .unwrap_or(host),
    };
    let is_further = |further: &&&Host| {
        let is_ipv6_loopback = further.address() == Some(Ipv6Addr::LOCALHOST.into());
        **further != &host && !is_ipv6_loopback
    };
    let further = served.iter().filter(is_further).take(MAX_ADDRESSES);
    let further = further.map(|host| (*host).clone()).collect();
    (host, further)
}

// === impl AdvertisedAddresses ===

impl AdvertisedAddresses {
    fn includes(self, address: IpAddr) -> bool {
        match self {
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
            Self::Host | Self::All => true,
        }
    }

    fn loopback(self) -> Host {
        let ipv6 = (self == Self::Ipv6).then(|| Host::try_from(IpAddr::from(Ipv6Addr::LOCALHOST)));
        ipv6.and_then(Result::ok).unwrap_or_else(Host::loopback)
    }
}

// === impl AddressUpdates ===

impl AddressUpdates {
    /// Follows the interfaces until the future is dropped.
    pub(crate) async fn run(self) {
        let mut events = InterfaceEvents::subscribe();
        loop {
            let host = self.desired.borrow().host.clone();
            let (host, addresses) = locate(host, self.advertised, self.registry_url.clone()).await;
            // First, so that the update reaches the new networks.
            if let Some(broadcaster) = &self.broadcaster {
                broadcaster.refresh();
            }
            self.update(host, addresses);
            events.changed().await;
        }
    }

    fn update(&self, host: Host, addresses: Vec<Host>) {
        let mut moved = false;
        let changed = self.desired.send_if_modified(|endpoint| {
            moved = endpoint.host != host;
            let changed = moved || endpoint.addresses != addresses;
            let own_url = |host: &Host| self.check.health_url(host, endpoint.port);
            if moved && endpoint.health_url == own_url(&endpoint.host) {
                endpoint.health_url = own_url(&host);
            }
            endpoint.host = host;
            endpoint.addresses = addresses;
            changed
        });
        let endpoint = self.desired.borrow().clone();
        if changed {
            let addresses = endpoint.hosts().map(Host::to_string).collect::<Vec<_>>().join(", ");
            info!(service_id = %endpoint.id, addresses, "Addresses of the service changed");
        }
        if moved {
            self.monitor.watch(&endpoint, &self.check);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(host: &str, addresses: &[&str], route: Option<&str>) -> String {
        let parse = |text: &str| -> Host { text.parse().unwrap() };
        let addresses: Vec<Host> = addresses.iter().map(|text| parse(text)).collect();
        let all = AdvertisedAddresses::All;
        let (host, further) = choose(parse(host), all, &addresses, || route.map(parse));
        let hosts = std::iter::once(&host).chain(&further).map(Host::to_string);
        hosts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn host_stays_while_this_host_has_it() {
        let addresses = ["127.0.0.1", "::1", "10.77.0.1", "fd00:77::1"];
        assert_eq!(chosen("127.0.0.1", &addresses, None), "127.0.0.1 10.77.0.1 fd00:77::1");
        let remote = chosen("10.77.0.1", &addresses, Some("10.88.0.1"));
        assert_eq!(remote, "10.77.0.1 127.0.0.1 fd00:77::1");
    }

    #[test]
    fn host_follows_the_route_to_a_remote_registry() {
        let addresses = ["127.0.0.1", "10.77.0.22"];
        let moved = "10.77.0.22 127.0.0.1";
        assert_eq!(chosen("10.77.0.2", &addresses, Some("10.77.0.22")), moved);
        assert_eq!(chosen("127.0.0.1", &addresses, Some("10.77.0.22")), moved);
        assert_eq!(chosen("10.77.0.2", &addresses, None), "127.0.0.1 10.77.0.22");
    }

    #[test]
    fn ipv4_listener_has_no_ipv6_address() {
        let addresses = ["127.0.0.1", "fd00::1"].map(|text| text.parse().unwrap());
        let ipv4 = AdvertisedAddresses::Ipv4;
        for route in [None, "fd00::1".parse().ok()] {
            let (host, further) = choose(Host::loopback(), ipv4, &addresses, || route);
            assert_eq!((host, further), (Host::loopback(), Vec::new()));
        }
    }

    #[test]
    fn ipv6_listener_has_no_ipv4_address() {
        let addresses = ["127.0.0.1", "::1", "10.0.0.1", "fd00::1"].map(|it| it.parse().unwrap());
        let ipv6 = AdvertisedAddresses::Ipv6;
        let chosen = |route: Option<&str>| {
            choose(Host::loopback(), ipv6, &addresses, || route.map(|it| it.parse().unwrap()))
        };
        assert_eq!(chosen(None), ("::1".parse().unwrap(), vec!["fd00::1".parse().unwrap()]));
        // The route to a registry by IPv4.
        assert_eq!(chosen(Some("10.0.0.1")).0, "fd00::1".parse().unwrap());
    }
}

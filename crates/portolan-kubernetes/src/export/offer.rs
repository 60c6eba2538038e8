//! What pods can reach of an instance of the registry. Pure functions.

use std::net::IpAddr;

use portolan_core::kubernetes_name::CLUSTER;
use portolan_core::{HealthStatus, Host, IpNetwork, ServiceEndpoint, Source};

use crate::objects::Conditions;

use super::ports::{NamedPort, named_ports};

/// An address of an instance, with its ports and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) address: IpAddr,
    pub(crate) ports: Vec<NamedPort>,
    pub(crate) conditions: Conditions,
}

/// Why an instance has no place in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it comes from the cluster {0}")]
    FromCluster(String),
    #[error("it was announced by broadcast, and a datagram proves nothing about its sender")]
    Broadcast,
    #[error("{0} is a loopback address, at which a pod reaches itself")]
    Loopback(Host),
    #[error("{0} is a link-local address, which no pod reaches")]
    LinkLocal(IpAddr),
    #[error("{0} is a host name, and a slice has addresses")]
    Name(Host),
    #[error("{0} is outside the networks of --network")]
    Outside(IpAddr),
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::FromCluster(_) => "none needed",
            Self::Broadcast => "let its agent register it with the registry",
            Self::Loopback(_) | Self::LinkLocal(_) | Self::Name(_) => {
                "let the program listen at an address that pods reach, and register that"
            }
            Self::Outside(_) => "register an address in one of them, or add its network",
        }
    }
}

/// Returns an address of each family, or why there is none.
pub(crate) fn offers(
    endpoint: &ServiceEndpoint,
    networks: &[IpNetwork],
) -> Result<Vec<Offer>, Refusal> {
    if let Some(cluster) = endpoint.metadata.get(CLUSTER) {
        return Err(Refusal::FromCluster(cluster.to_owned()));
    }
    if endpoint.source == Source::Broadcast {
        return Err(Refusal::Broadcast);
    }
    let mut offers: Vec<Offer> = Vec::new();
    let mut refusal = None;
    for host in endpoint.hosts() {
        match usable(host, networks) {
            Ok(address) => {
                let has_family = |offer: &Offer| offer.address.is_ipv4() == address.is_ipv4();
                if !offers.iter().any(has_family) {
                    let ports = named_ports(endpoint, endpoint.port_at(host));
                    offers.push(Offer { address, ports, conditions: conditions(endpoint) });
                }
            }
            Err(reason) => refusal = refusal.or(Some(reason)),
        }
    }
    match refusal {
        Some(refusal) if offers.is_empty() => Err(refusal),
        _ => Ok(offers),
    }
}

fn usable(host: &Host, networks: &[IpNetwork]) -> Result<IpAddr, Refusal> {
    if host.is_loopback() {
        return Err(Refusal::Loopback(host.clone()));
    }
    let Some(address) = host.address() else { return Err(Refusal::Name(host.clone())) };
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if is_link_local {
        return Err(Refusal::LinkLocal(address));
    }
    if networks.is_empty() || networks.iter().any(|network| network.contains(address)) {
        Ok(address)
    } else {
        Err(Refusal::Outside(address))
    }
}

/// An instance that drains still serves, and is used only if there is no other.
fn conditions(endpoint: &ServiceEndpoint) -> Conditions {
    let (ready, terminating) = (endpoint.is_ready(), endpoint.is_draining());
    let serves = ready || (terminating && endpoint.health != HealthStatus::Critical);
    Conditions { ready: Some(ready), serving: Some(serves), terminating: Some(terminating) }
}

#[cfg(test)]
mod tests;

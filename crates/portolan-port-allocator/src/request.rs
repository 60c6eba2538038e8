//! What a service asks for: which port, how deep it is held, and on which address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use portolan_core::{PortName, PortRange, Scope, ServiceName};
use serde::{Deserialize, Serialize};

use crate::session::LeaseKey;

/// A wish for a port. What is not said is taken from the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    pub(crate) service: ServiceName,
    pub(crate) scope: Scope,
    pub(crate) port_name: Option<PortName>,
    pub(crate) preferred: Option<u16>,
    pub(crate) pool: Option<String>,
    pub(crate) range: Option<PortRange>,
    pub(crate) depth: Depth,
    pub(crate) address: BindAddress,
    pub(crate) udp: bool,
    pub(crate) allow_ephemeral: Option<bool>,
    pub(crate) folder: Option<PathBuf>,
}

/// How deep a port is held: from whom it is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Safe from everybody: the lease holds the bound socket and hands it over.
    #[default]
    Bound,
    /// For a program that binds the port by its number itself. Safe from every Portolan process,
    /// from the kernel's own choice, and from whoever binds without `SO_REUSEADDR`: the lease holds
    /// a guard, beside which a program that sets the option still starts. Nothing tells such a
    /// program from a stranger who sets it too and wants this very port.
    Guarded,
    /// The number only, for what binds it out of our reach: a container, a remote host. Safe from
    /// every Portolan process of this user on this host, and to be verified once it is started:
    /// see [`PortLease::listener`](crate::PortLease::listener).
    Claimed,
}

/// A text that is none of the depths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a depth; use bound, guarded or claimed")]
pub struct InvalidDepth(String);

/// The address that the service listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BindAddress {
    /// Every address of this host, IPv4 and IPv6.
    #[default]
    Any,
    /// One address of this host, or every IPv4 address where it is `0.0.0.0`.
    Ip(IpAddr),
}

// === impl PortRequest ===

impl PortRequest {
    /// A wish for a port for this service; everything else as configured.
    pub fn new(service: ServiceName) -> Self {
        Self {
            service,
            scope: Scope::default(),
            port_name: None,
            preferred: None,
            pool: None,
            range: None,
            depth: Depth::default(),
            address: BindAddress::default(),
            udp: false,
            allow_ephemeral: None,
            folder: None,
        }
    }

    /// The world that the service's name belongs to.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Which of the service's ports this is; its one and only, or its first, where nothing is said.
    pub fn port_name(mut self, name: PortName) -> Self {
        self.port_name = Some(name);
        self
    }

    pub(crate) fn lease_key(&self) -> LeaseKey {
        let Self { scope, service, port_name, .. } = self;
        LeaseKey { scope: scope.clone(), service: service.clone(), port_name: port_name.clone() }
    }

    /// The port to have where it is free; the pool's default port where none is said.
    pub fn preferred(mut self, port: u16) -> Self {
        self.preferred = Some(port);
        self
    }

    /// The pool to choose from; the one that the service's name tells, where none is said.
    pub fn pool(mut self, pool: &str) -> Self {
        self.pool = Some(pool.to_owned());
        self
    }

    /// The range to choose from, in place of the pool's range and default port.
    pub fn range(mut self, range: PortRange) -> Self {
        self.range = Some(range);
        self
    }

    /// How deep the port is held; [`Depth::Bound`] where nothing is said.
    pub fn depth(mut self, depth: Depth) -> Self {
        self.depth = depth;
        self
    }

    /// The address to listen on; every address where none is said. Whatever is said, a port is
    /// granted only if it is free on every address: a `localhost` that is two services is worse
    /// than another port.
    pub fn address(mut self, address: BindAddress) -> Self {
        self.address = address;
        self
    }

    /// Whether the port is needed in UDP as well as in TCP. A bound lease then holds both sockets;
    /// for the other depths the port is free in UDP when it is granted, and reserved from then on.
    pub fn udp(mut self, udp: bool) -> Self {
        self.udp = udp;
        self
    }

    /// Whether any free port will do when the range is used up; as configured where nothing is said.
    pub fn allow_ephemeral(mut self, allow: bool) -> Self {
        self.allow_ephemeral = Some(allow);
        self
    }

    /// The folder that the service works in, which tells two copies of one project apart when the
    /// port of the last run is looked up; the working folder of this process where none is said.
    pub fn folder(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }
}

// === impl Depth ===

impl Depth {
    /// The depth as it is written in flags and files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Guarded => "guarded",
            Self::Claimed => "claimed",
        }
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Depth {
    type Err = InvalidDepth;

    fn from_str(text: &str) -> Result<Self, InvalidDepth> {
        [Self::Bound, Self::Guarded, Self::Claimed]
            .into_iter()
            .find(|depth| depth.as_str() == text)
            .ok_or_else(|| InvalidDepth(text.chars().take(40).collect()))
    }
}

// === impl BindAddress ===

impl BindAddress {
    /// `127.0.0.1`: reached from this machine only.
    pub const LOOPBACK: Self = Self::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));

    /// The one address to bind, with the port; none where it is every address. An IPv4 address that
    /// is written as one of IPv6 is one of IPv4.
    pub(crate) fn with_port(self, port: u16) -> Option<SocketAddr> {
        match self {
            Self::Any => None,
            Self::Ip(address) => Some(SocketAddr::new(address.to_canonical(), port)),
        }
    }
}

impl From<IpAddr> for BindAddress {
    /// `::` is every address, IPv4 included, as most programs take it.
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V6(address) if address.is_unspecified() => Self::Any,
            address => Self::Ip(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_depth_is_read_as_it_is_written() {
        for depth in [Depth::Bound, Depth::Guarded, Depth::Claimed] {
            assert_eq!(depth.to_string().parse(), Ok(depth));
        }
        let error = "deep".parse::<Depth>().unwrap_err();
        assert_eq!(error.to_string(), "\"deep\" is not a depth; use bound, guarded or claimed");
    }

    #[test]
    fn every_address_of_ipv6_is_every_address() {
        assert_eq!(BindAddress::from(IpAddr::from([0_u16; 8])), BindAddress::Any);
        let every_v4 = IpAddr::from([0, 0, 0, 0]);
        assert_eq!(BindAddress::from(every_v4), BindAddress::Ip(every_v4));
        assert_eq!(BindAddress::from(IpAddr::from([127, 0, 0, 1])), BindAddress::LOOPBACK);
    }
}

//! The ports that a service asks for: the main port and named ports.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use portolan_core::port_range::InvalidPortRange;
use portolan_core::{Pools, PortName, PortRange, name::InvalidName, port};
use portolan_port_allocator::{BindAddress, PortRequest};

use super::ServiceSpec;

/// The ports that a service asks for.
#[derive(Debug, Clone, Default)]
pub struct PortSpec {
    /// The preferred ports, in order. Default: the default port of the pool.
    pub preferred: Vec<u16>,
    /// Whether the main port must be one of the preferred ones.
    pub strict: bool,
    /// The range of the main port, instead of that of a pool.
    pub range: Option<PortRange>,
    /// The pool. Default: the pool that the configuration or the service name implies.
    pub pool: Option<String>,
    /// Whether any ephemeral port is acceptable in the end. `None` is the configured value, or true
    /// if no pool, range or preferred port applies.
    pub allow_ephemeral: Option<bool>,
    /// The directory that, with the service name, identifies the sticky ports of the service.
    pub folder: Option<PathBuf>,
    /// The listen address.
    pub bind: BindAddress,
    /// Whether each port must be free for UDP as well.
    pub udp: bool,
    /// Whether a port above the pool is acceptable when that is used up.
    pub beyond_pool: bool,
    /// Additional ports. Either all ports are leased or none.
    pub named: Vec<NamedPort>,
}

/// An additional port, written `NAME[=PORT[,PORT]][@POOL]` or `NAME=START-END`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    /// The name.
    pub name: PortName,
    /// The preferred ports, in order. Default: the default port of the pool.
    pub preferred: Vec<u16>,
    /// The range of the port, instead of that of a pool.
    pub range: Option<PortRange>,
    /// Whether it must be one of the preferred ports.
    pub strict: bool,
    /// The pool. Default: the pool that the port name implies, or else the pool of the service.
    pub pool: Option<String>,
}

/// Why text is not a named port. Permanent: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNamedPort {
    /// The name is invalid.
    #[error("{0}: expected NAME[=PORT[,PORT]][@POOL], such as metrics=9100")]
    Name(#[from] InvalidName),
    /// The port number is invalid.
    #[error("{0}")]
    Port(#[from] port::InvalidPort),
    /// The range is invalid.
    #[error("{0}")]
    Range(#[from] InvalidPortRange),
    /// Both a range and a pool.
    #[error("port {0} has a range and a pool: expected one of them")]
    RangeAndPool(PortName),
    /// A number alone, which is a name as well.
    #[error("expected NAME=PORT, for an additional port; for the main port use --preferred {0}")]
    Number(u16),
    /// The pool name is empty.
    #[error("pool of port {0} is empty: expected a pool after @")]
    Pool(PortName),
}

/// Returns the address at which a listener on `bind` is reachable from this host.
pub(super) fn reachable_address(bind: BindAddress) -> IpAddr {
    match bind {
        BindAddress::Ip(address) if !address.is_unspecified() => address,
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

// === impl PortSpec ===

impl PortSpec {
    /// Returns the lease requests, the main port first.
    pub(super) fn requests(&self, spec: &ServiceSpec, pools: &Pools) -> Vec<PortRequest> {
        let depth = spec.handoff_mode().depth();
        let plain = |pool: Option<&String>| {
            let request = PortRequest::new(spec.name.clone()).scope(spec.scope.clone());
            let request = request.depth(depth).address(self.bind).udp(self.udp);
            let request = request.beyond_pool(self.beyond_pool);
            let request = pool.into_iter().fold(request, |request, pool| request.pool(pool));
            let folder = self.folder.iter().cloned();
            let request = folder.fold(request, PortRequest::folder);
            match self.allow_ephemeral {
                Some(allow) => request.allow_ephemeral(allow),
                None => request.ephemeral_if_unspecified(),
            }
        };
        let main = plain(self.pool.as_ref()).preferred_ports(self.preferred.clone());
        let main = self.range.into_iter().fold(main.strict(self.strict), PortRequest::range);
        let named = self.named.iter().map(|port| {
            let implied = pools.of_service(port.name.as_str()).map(|pool| &pool.name);
            let pool = port.pool.as_ref().or(implied).or(self.pool.as_ref());
            let pool = pool.filter(|_| port.range.is_none());
            let request = plain(pool).port_name(port.name.clone());
            let request = request.preferred_ports(port.preferred.clone()).strict(port.strict);
            port.range.into_iter().fold(request, PortRequest::range)
        });
        std::iter::once(main).chain(named).collect()
    }
}

// === impl NamedPort ===

impl NamedPort {
    /// Returns the environment variable of the port: `PORT_METRICS` for `metrics`.
    pub fn variable(&self) -> String {
        variable(&self.name)
    }
}

/// Returns `PORT_` and the name in the alphabet of environment variables.
pub(super) fn variable(name: &PortName) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.as_str().chars().map(upper).collect();
    format!("PORT_{name}")
}

impl FromStr for NamedPort {
    type Err = InvalidNamedPort;

    fn from_str(text: &str) -> Result<Self, InvalidNamedPort> {
        let (text, pool) = match text.split_once('@') {
            Some((text, pool)) => (text, Some(pool)),
            None => (text, None),
        };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        if let (Ok(number), None) = (name.parse(), value) {
            return Err(InvalidNamedPort::Number(number));
        }
        let name: PortName = name.parse()?;
        let range = value.filter(|value| value.contains('-')).map(str::parse).transpose()?;
        let numbers = value.filter(|_| range.is_none()).into_iter();
        let numbers = numbers.flat_map(|value| value.split(',').map(port::parse));
        let preferred = numbers.collect::<Result<_, _>>()?;
        match pool {
            Some("") => Err(InvalidNamedPort::Pool(name)),
            Some(_) if range.is_some() => Err(InvalidNamedPort::RangeAndPool(name)),
            pool => {
                Ok(Self { name, preferred, range, strict: false, pool: pool.map(str::to_owned) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_port_has_a_name_and_optionally_a_number_and_a_pool() {
        let read = |text: &str| {
            let port: NamedPort = text.parse().unwrap();
            (port.name.to_string(), port.preferred, port.pool)
        };
        assert_eq!(read("metrics"), ("metrics".into(), vec![], None));
        assert_eq!(read("metrics=9100,9102"), ("metrics".into(), vec![9100, 9102], None));
        assert_eq!(read("admin@api"), ("admin".into(), vec![], Some("api".into())));
        assert_eq!(read("a.b=81@api"), ("a.b".into(), vec![81], Some("api".into())));
        let ranged: NamedPort = "debug=9229-9239".parse().unwrap();
        assert_eq!(
            (ranged.range.unwrap().to_string(), ranged.preferred),
            ("9229-9239".into(), vec![])
        );
        for (text, expected) in [
            ("", "the port name is empty"),
            ("=80", "the port name is empty"),
            ("a b", "NAME[=PORT[,PORT]][@POOL]"),
            ("8080", "for the main port use --preferred 8080"),
            ("a=9-1", "expected 1-9"),
            ("a=1,,2", "from 1 to 65535"),
            ("a=1-9@api", "a range and a pool"),
            ("a=0", "from 1 to 65535"),
            ("a@", "pool of port a is empty"),
        ] {
            let error = text.parse::<NamedPort>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn variable_of_a_named_port_is_a_valid_shell_name() {
        let variable = |text: &str| text.parse::<NamedPort>().unwrap().variable();
        assert_eq!(
            (variable("metrics"), variable("a.b-1")),
            ("PORT_METRICS".into(), "PORT_A_B_1".into())
        );
    }

    #[test]
    fn service_on_every_address_is_reachable_on_loopback() {
        let address = IpAddr::from([10, 0, 0, 5]);
        assert_eq!(reachable_address(BindAddress::Ip(address)), address);
        assert_eq!(reachable_address(BindAddress::Any), IpAddr::from([127, 0, 0, 1]));
    }
}

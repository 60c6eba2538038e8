//! The address that a service listens on.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use portolan_core::Remedy;
use serde::{Deserialize, Deserializer, de};

/// The address that a service listens on, written `all`, `loopback` or as an IP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BindAddress {
    /// Every address of this host, IPv4 and IPv6.
    #[default]
    Any,
    /// One address of this host, or every IPv4 address if it is `0.0.0.0`.
    Ip(IpAddr),
}

/// A text that is not a [`BindAddress`]. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address to listen on: expected all, loopback or an IP address")]
pub struct InvalidBindAddress(String);

/// How many characters of an invalid text an error repeats.
const QUOTED: usize = 60;

// === impl BindAddress ===

impl BindAddress {
    /// `127.0.0.1`: reached from this machine only.
    pub const LOOPBACK: Self = Self::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));

    /// Returns the socket address to bind, or `None` for every address. An IPv4-mapped IPv6 address
    /// becomes the IPv4 address.
    pub(crate) fn with_port(self, port: u16) -> Option<SocketAddr> {
        match self {
            Self::Any => None,
            Self::Ip(address) => Some(SocketAddr::new(address.to_canonical(), port)),
        }
    }
}

impl From<IpAddr> for BindAddress {
    /// Most programs bind `::` for every address, IPv4 included.
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V6(address) if address.is_unspecified() => Self::Any,
            address => Self::Ip(address),
        }
    }
}

impl FromStr for BindAddress {
    type Err = InvalidBindAddress;

    fn from_str(text: &str) -> Result<Self, InvalidBindAddress> {
        match text {
            "all" => Ok(Self::Any),
            "loopback" => Ok(Self::LOOPBACK),
            text => match text.parse::<IpAddr>() {
                Ok(address) => Ok(address.into()),
                Err(_) => Err(InvalidBindAddress(text.chars().take(QUOTED).collect())),
            },
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("all"),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for BindAddress {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        text.parse().map_err(|error: InvalidBindAddress| de::Error::custom(error.with_remedy()))
    }
}

// === impl InvalidBindAddress ===

impl Remedy for InvalidBindAddress {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_and_ip_addresses_are_parsed() {
        for (text, expected) in [
            ("all", BindAddress::Any),
            ("::", BindAddress::Any),
            ("loopback", BindAddress::LOOPBACK),
            ("127.0.0.1", BindAddress::LOOPBACK),
            ("0.0.0.0", BindAddress::Ip(Ipv4Addr::UNSPECIFIED.into())),
            ("10.0.0.5", BindAddress::Ip([10, 0, 0, 5].into())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
        let error = "localhost".parse::<BindAddress>().unwrap_err().to_string();
        assert!(error.contains("\"localhost\"") && error.contains("all, loopback"), "{error}");
    }
}

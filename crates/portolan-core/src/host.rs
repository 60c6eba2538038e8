//! Hosts: IP addresses and host names.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The host that an endpoint advertises: an IP address or a host name (RFC 1123, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(Kind);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Address(IpAddr),
    Name(Box<str>),
}

/// Why text is not a host. Permanent: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHost {
    /// The text is neither an IP address nor a host name.
    #[error("{0} is not a host, expected an IP address or a host name such as db.example.org")]
    NotAHost(String),
    /// An unspecified address (`0.0.0.0` or `::`), which a server can listen on but a client cannot
    /// connect to.
    #[error(
        "{0} is not an address that clients can connect to, expected the address of one interface"
    )]
    Unspecified(IpAddr),
    /// A multicast or broadcast address, which is not the address of one host.
    #[error("{0} is a multicast or broadcast address, expected the address of one host")]
    NotUnicast(IpAddr),
    /// An IPv6 link-local address, which has a meaning on one link only (RFC 4007).
    #[error(
        "{0} is a link-local address without its interface, expected a global or unique local address"
    )]
    LinkLocal(IpAddr),
}

/// Names of the loopback address in `/etc/hosts` of common systems, besides those of RFC 6761,
/// section 6.3.
const LOOPBACK_NAMES: [&str; 4] =
    ["localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"];

// === impl Host ===

impl Host {
    /// Returns `127.0.0.1`.
    pub fn loopback() -> Self {
        Self(Kind::Address(IpAddr::from([127, 0, 0, 1])))
    }

    /// Returns the IP address, if the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self.0 {
            Kind::Address(address) => Some(address),
            Kind::Name(_) => None,
        }
    }

    /// Returns whether the host is a loopback address, which has no meaning on other hosts.
    pub fn is_loopback(&self) -> bool {
        match &self.0 {
            Kind::Address(address) => address.is_loopback(),
            Kind::Name(name) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                name.ends_with(".localhost") || LOOPBACK_NAMES.contains(&name.as_str())
            }
        }
    }

    /// Formats host and port in the form of URLs: `127.0.0.1:80`, `[::1]:80`, `db.example.org:80`.
    pub fn with_port(&self, port: u16) -> String {
        match self.0 {
            Kind::Address(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            _ => format!("{self}:{port}"),
        }
    }
}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(address) => Self::try_from(address),
            Err(_) if is_host_name(text) => Ok(Self(Kind::Name(text.into()))),
            Err(_) => Err(InvalidHost::NotAHost(crate::quoted(text))),
        }
    }
}

impl TryFrom<IpAddr> for Host {
    type Error = InvalidHost;

    /// An IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2) becomes the IPv4 address, so that one address has one form.
    fn try_from(address: IpAddr) -> Result<Self, InvalidHost> {
        let address = address.to_canonical();
        if address.is_unspecified() {
            return Err(InvalidHost::Unspecified(address));
        }
        match address {
            IpAddr::V4(v4) if v4.is_multicast() || v4.is_broadcast() => {
                return Err(InvalidHost::NotUnicast(address));
            }
            IpAddr::V6(v6) if v6.is_multicast() => return Err(InvalidHost::NotUnicast(address)),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                return Err(InvalidHost::LinkLocal(address));
            }
            _ => {}
        }
        Ok(Self(Kind::Address(address)))
    }
}

impl TryFrom<String> for Host {
    type Error = InvalidHost;
    fn try_from(text: String) -> Result<Self, InvalidHost> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> String {
        host.to_string()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Address(address) => address.fmt(f),
            Kind::Name(name) => f.pad(name),
        }
    }
}

/// Returns whether text is a host name: labels of letters, digits, hyphens and underscores. The
/// last label is not a number, so that neither `999.1.1.1` nor `0x7f000001`, which resolvers take
/// for `127.0.0.1`, is a host name.
fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = text.rsplit('.').next().unwrap_or(text);
    (1..=253).contains(&text.len()) && text.split('.').all(label) && !is_number(last)
}

/// Returns whether `inet_aton` parses the label as a number: decimal, octal, or hexadecimal after
/// `0x`.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x").or_else(|| label.strip_prefix("0X")) {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests;

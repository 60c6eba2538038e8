//! The addresses of an instance that have different ports, and from where each can be reached.
//!
//! A container has an address on each of its networks with the port on which its program listens, and addresses of its host
//! with the published port. They are a metadata entry, so that programs that know nothing of them see an ordinary instance.

use std::fmt;
use std::str::FromStr;

use crate::Metadata;
use crate::{Host, IpNetwork};

/// The metadata entry that lists every address of an instance with its port: `192.0.2.7:8080 172.17.0.2:80@172.17.0.0/16`.
/// The network after `@` is the one from which the address can be reached; without one it is reached from everywhere.
pub const ADDRESS_PORTS: &str = "portolan.addresses";

/// An address of an instance with a port of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPort {
    /// The address.
    pub host: Host,
    /// The port at this address, never 0.
    pub port: u16,
    /// The network from which it can be reached, besides from the host of the registry; `None` for every network.
    pub within: Option<IpNetwork>,
}

/// A text is not an address with a port. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not an address with a port, expected one such as 192.0.2.7:8080 or 172.17.0.2:80@172.17.0.0/16"
)]
pub struct InvalidAddressPort(String);

// === impl AddressPort ===

impl AddressPort {
    /// Returns the entry of the metadata for these addresses.
    pub fn entry(addresses: &[Self]) -> String {
        addresses.iter().map(Self::to_string).collect::<Vec<_>>().join(" ")
    }

    /// Returns the addresses in the metadata that are valid.
    pub(crate) fn all(metadata: &Metadata) -> impl Iterator<Item = Self> {
        let entry = metadata.get(ADDRESS_PORTS).unwrap_or("");
        entry.split(' ').filter_map(|text| text.parse().ok())
    }

    /// Returns what the metadata says of one address.
    pub(crate) fn of(metadata: &Metadata, host: &Host) -> Option<Self> {
        Self::all(metadata).find(|address| address.host == *host)
    }
}

impl FromStr for AddressPort {
    type Err = InvalidAddressPort;

    fn from_str(text: &str) -> Result<Self, InvalidAddressPort> {
        let invalid = || InvalidAddressPort(crate::quoted(text));
        let (address, within) = match text.split_once('@') {
            Some((address, network)) => (address, Some(network.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
        Ok(Self { host: host.parse().map_err(|_| invalid())?, port, within })
    }
}

impl fmt::Display for AddressPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host.with_port(self.port))?;
        match self.within {
            Some(network) => write!(f, "@{network}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_form_as_text() {
        for text in [
            "192.0.2.7:8080",
            "172.17.0.2:80@172.17.0.0/16",
            "[fd00::2]:80@fd00::/64",
            "db.example.org:1",
        ] {
            assert_eq!(text.parse::<AddressPort>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "192.0.2.7",
            "192.0.2.7:0",
            ":80",
            "0.0.0.0:80",
            "10.0.0.1:80@x",
            "10.0.0.1:80@",
            "a b:1",
        ] {
            assert!(text.parse::<AddressPort>().is_err(), "{text:?}");
        }
    }
}

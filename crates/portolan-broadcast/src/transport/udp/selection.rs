//! Which interfaces belong to a channel.

use std::net::IpAddr;

use crate::interfaces::Interface;
#[cfg(not(target_os = "linux"))]
use crate::interfaces::interfaces;

/// The interfaces of a channel, besides loopback; none of them for loopback only.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection(Vec<Wanted>);

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// Every interface that supports multicast.
    All,
    Name(String),
    Address(IpAddr),
}

// === impl Selection ===

impl Selection {
    /// Returns the selection of these names and addresses. The error is the one that belongs to no interface
    /// of this host.
    pub(super) fn new(wanted: &[String], interfaces: &[Interface]) -> Result<Self, String> {
        let mut selection = Vec::new();
        for text in wanted {
            let wanted = match text.parse::<IpAddr>() {
                Ok(address) if address.is_unspecified() => Wanted::All,
                Ok(address) => Wanted::Address(address),
                Err(_) => Wanted::Name(text.clone()),
            };
            let mut found = interfaces.iter().filter(|interface| wanted.matches(interface));
            match (&wanted, found.next()) {
                (Wanted::Address(address), _) if address.is_loopback() => {}
                (Wanted::All, _) => selection.push(wanted),
                (_, Some(interface)) if interface.is_loopback() => {}
                (_, Some(_)) => selection.push(wanted),
                // An interface that has no address yet is not listed.
                (_, None) if has_interface(text) => selection.push(wanted),
                (_, None) => return Err(text.clone()),
            }
        }
        Ok(Self(selection))
    }

    /// Returns whether loopback is the only interface.
    pub(super) fn is_loopback(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn includes(&self, interface: &Interface) -> bool {
        !interface.is_loopback() && self.0.iter().any(|wanted| wanted.matches(interface))
    }
}

// === impl Wanted ===

impl Wanted {
    fn matches(&self, interface: &Interface) -> bool {
        match self {
            Self::All => interface.is_multicast,
            Self::Name(name) => *name == interface.name,
            Self::Address(address) => interface.addresses.contains(address),
        }
    }
}

/// Returns whether an interface has this name; on Linux also one without an address.
fn has_interface(name: &str) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::{AddressFamily, SocketType, netdevice, socket};
        !name.is_empty()
            && socket(AddressFamily::INET, SocketType::DGRAM, None)
                .is_ok_and(|socket| netdevice::name_to_index(socket, name).is_ok())
    }
    #[cfg(not(target_os = "linux"))]
    interfaces().iter().any(|interface| interface.name == name)
}

//! The addresses of this host's network interfaces.

use std::net::IpAddr;

/// Returns the addresses at which other hosts can reach this one: those of every interface, without
/// loopback and IPv6 link-local addresses, which have no meaning elsewhere.
pub fn interface_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = interfaces.iter().map(if_addrs::Interface::ip);
    addresses.filter(is_reachable).collect()
}

fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_link_local_addresses_do_not_count() {
        let counts = |text: &str| is_reachable(&text.parse().unwrap());
        assert!(counts("10.77.0.1") && counts("fd00::1") && counts("169.254.7.7"));
        assert!(!counts("127.0.0.1") && !counts("::1") && !counts("fe80::1"));
        assert!(interface_addresses().iter().all(|address| !address.is_loopback()));
    }
}

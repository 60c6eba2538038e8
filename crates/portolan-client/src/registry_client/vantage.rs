//! Where this client is, seen from the registry that answers it.

use std::net::SocketAddr;

use portolan_broadcast::interfaces::source_address;
use portolan_core::Vantage;

/// Returns the position of this host from the address of the registry's server.
pub(super) fn of_server(server: Option<SocketAddr>) -> Vantage {
    let Some(server) = server else { return Vantage::UNKNOWN };
    let ip = server.ip().to_canonical();
    // First, because most registries of a laptop are there, and it needs no system call.
    if ip.is_loopback() {
        return Vantage::SameHost;
    }
    let peer = source_address(server).ok().map(|source| source.to_canonical());
    // The route to an address of this host starts at that address.
    match peer == Some(ip) {
        true => Vantage::SameHost,
        false => Vantage::OtherHost { local: Some(ip), peer },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_on_loopback_is_on_this_host() {
        for address in ["127.0.0.1:7000", "127.9.9.9:7000", "[::1]:7000"] {
            assert_eq!(of_server(address.parse().ok()), Vantage::SameHost, "{address}");
        }
        assert_eq!(of_server(None), Vantage::UNKNOWN);
    }

    #[test]
    fn server_elsewhere_is_on_another_host() {
        // An address for documentation (RFC 5737), to which nothing is sent.
        let server: SocketAddr = "192.0.2.1:7000".parse().unwrap();
        let vantage = of_server(Some(server));
        assert!(
            matches!(vantage, Vantage::OtherHost { local: Some(ip), .. } if ip == server.ip()),
            "{vantage:?}"
        );
    }
}

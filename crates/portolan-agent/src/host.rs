//! The address under which others reach this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use portolan_core::{Host, REGISTRY_PORT};
use tracing::warn;
use url::Url;

/// The host to advertise to this registry: loopback where the registry is on this machine or is
/// not given as an URL, else the address that the route to it starts from. Nothing is sent, but a
/// name is resolved, which takes as long as the system lets it.
///
/// Where there is no route there is nobody to advertise to, and it is loopback as well.
pub fn advertised_host(registry_url: &str) -> Host {
    let Some((host, port)) = host_and_port(registry_url) else { return Host::loopback() };
    if host.is_loopback() {
        return Host::loopback();
    }
    match route_to(&host, port).map(Host::try_from) {
        Ok(Ok(own)) if !own.is_loopback() => own,
        Ok(_) => Host::loopback(),
        Err(error) => {
            warn!(%host, %error, "No route to the registry, advertising loopback");
            Host::loopback()
        }
    }
}

fn host_and_port(url: &str) -> Option<(Host, u16)> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.parse().ok()?;
    Some((host, url.port_or_known_default().unwrap_or(REGISTRY_PORT)))
}

fn route_to(host: &Host, port: u16) -> io::Result<IpAddr> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for to in host.with_port(port).to_socket_addrs()? {
        match own_address(to) {
            Ok(own) => return Ok(own),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Connecting a UDP socket chooses the route and the address it starts from, and sends nothing.
fn own_address(to: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_on_this_machine_hears_of_loopback() {
        for url in [
            "http://localhost:7000",
            "http://127.0.0.1:7000",
            "http://127.1.2.3",
            "http://[::1]:7000/",
            "not a url",
            "data:text/plain,x",
            "http://0.0.0.0:7000",
        ] {
            assert_eq!(advertised_host(url), Host::loopback(), "{url}");
        }
    }

    #[test]
    fn the_route_to_an_address_starts_at_an_address_of_this_machine() {
        let own = route_to(&Host::loopback(), 7000).unwrap();
        assert_eq!(own, IpAddr::from([127, 0, 0, 1]));
    }

    #[test]
    fn a_host_without_a_route_leaves_loopback() {
        // The kernel refuses broadcast addresses before it looks for a route.
        assert_eq!(advertised_host("http://255.255.255.255:7000"), Host::loopback());
    }
}

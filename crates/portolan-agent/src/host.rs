//! The address at which other machines reach this one.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::time::Duration;

use portolan_broadcast::interfaces::source_address;
use portolan_core::{Host, REGISTRY_PORT};
use tokio::net::lookup_host;
use tokio::time::timeout;
use tracing::warn;
use url::Url;

/// How long a name may take to resolve. Without an answer it is published as it is.
const RESOLVE_WITHIN: Duration = Duration::from_secs(2);

/// Returns the host to advertise to this registry: the source address of the route to the registry,
/// or loopback if the registry is on this machine, the URL is invalid or there is no route.
///
/// Nothing is sent, but a host name is resolved, which may block for as long as the system's resolver.
pub fn advertised_host(registry_url: &str) -> Host {
    let Some((host, port)) = host_and_port(registry_url) else { return Host::loopback() };
    if host.is_loopback() {
        return Host::loopback();
    }
    match source_address_to(&host, port).map(Host::try_from) {
        Ok(Ok(own)) if !own.is_loopback() => own,
        Ok(_) => Host::loopback(),
        Err(error) => {
            warn!(%host, %error, "No route to the registry, advertising loopback");
            Host::loopback()
        }
    }
}

/// Returns the host, or the loopback address that its name means on this host: Debian writes the name of the host as
/// `127.0.1.1` into `/etc/hosts`. Such a name is treated as that address, because a client on this host would get it, and a
/// registry cannot tell the name from others.
pub async fn resolved_loopback(host: Host) -> Host {
    if host.address().is_some() || host.is_loopback() {
        return host;
    }
    let name = host.with_port(0);
    let Ok(Ok(found)) = timeout(RESOLVE_WITHIN, lookup_host(name)).await else { return host };
    let found: Vec<IpAddr> = found.map(|address| address.ip().to_canonical()).collect();
    match found.iter().copied().find(IpAddr::is_loopback).map(Host::try_from) {
        Some(Ok(loopback)) if found.iter().all(IpAddr::is_loopback) => {
            warn!(
                %host,
                address = %loopback,
                "The name of the host is a loopback address here, other hosts cannot reach it; give the address of an interface"
            );
            loopback
        }
        _ => host,
    }
}

/// Returns whether the registry is on this host, as far as its URL says.
pub(crate) fn is_on_this_host(registry_url: &str) -> bool {
    host_and_port(registry_url).is_none_or(|(host, _)| host.is_loopback())
}

/// The host and port of the registry. Of several servers, whose URLs are separated by commas, the first one on another
/// host: what that one can reach, the one on this host can reach too.
fn host_and_port(urls: &str) -> Option<(Host, u16)> {
    let servers: Vec<(Host, u16)> = urls.split(',').filter_map(server).collect();
    let elsewhere = servers.iter().find(|(host, _)| !host.is_loopback());
    elsewhere.or(servers.first()).cloned()
}

fn server(url: &str) -> Option<(Host, u16)> {
    let url = Url::parse(url.trim()).ok()?;
    let host = url.host_str()?.parse().ok()?;
    Some((host, url.port_or_known_default().unwrap_or(REGISTRY_PORT)))
}

fn source_address_to(host: &Host, port: u16) -> io::Result<IpAddr> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for to in host.with_port(port).to_socket_addrs()? {
        match source_address(to) {
            Ok(own) => return Ok(own),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_on_another_host_decides_among_several() {
        assert!(!is_on_this_host("http://localhost:7000,http://10.0.0.7:7000"));
        assert!(is_on_this_host("http://localhost:7000, http://127.0.0.1:7001"));
    }

    #[test]
    fn loopback_is_advertised_to_local_registry() {
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
    fn source_address_belongs_to_this_machine() {
        let own = source_address_to(&Host::loopback(), 7000).unwrap();
        assert_eq!(own, IpAddr::from([127, 0, 0, 1]));
    }

    #[test]
    fn loopback_is_advertised_without_a_route() {
        // The kernel refuses broadcast addresses before it looks for a route.
        assert_eq!(advertised_host("http://255.255.255.255:7000"), Host::loopback());
    }
}

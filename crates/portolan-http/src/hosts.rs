//! Which hosts a request may name, and which web pages may send one.
//!
//! A web page can reach a server on loopback or behind a firewall through the browser of a visitor. Two checks keep it out, for
//! every method:
//!
//! - The page points a name of its own at the address of the server, so that the browser takes both for one site
//!   (DNS rebinding). The request then names the page's host, which this server does not answer for.
//! - The page sends a request across sites. Browsers say so in `Origin` and `Sec-Fetch-Site`, which pages cannot change.

use std::net::IpAddr;

use http::header::{HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{Uri, Version};
use portolan_core::{HostPattern, quoted};

use crate::{Peer, RequestError};

/// Where the request of a browser comes from (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The hosts that requests may name: IP addresses, `localhost` and the names below it, and those that are configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    configured: Vec<HostPattern>,
}

// === impl AllowedHosts ===

impl AllowedHosts {
    /// Adds names. A web page of such a host may send requests.
    pub fn with(mut self, names: impl IntoIterator<Item = HostPattern>) -> Self {
        self.configured.extend(names);
        self
    }

    /// Checks the host and the origin that a request names.
    pub(crate) fn check(&self, request: &Parts, peer: &Peer) -> Result<(), RequestError> {
        if is_plainly_local(request) {
            return Ok(());
        }
        let Some(host) = host_of(request)? else { return Ok(()) };
        // No browser connects to a Unix socket, and its clients name anything.
        if matches!(peer, Peer::Unix { .. }) {
            return Ok(());
        }
        if !self.allows(host.host()) {
            return Err(RequestError::Misdirected { host: quoted(host.host()) });
        }
        self.check_origin(request, &host)
    }

    fn check_origin(&self, request: &Parts, host: &Authority) -> Result<(), RequestError> {
        let foreign = |origin: &[u8]| RequestError::ForeignOrigin {
            origin: quoted(&String::from_utf8_lossy(origin)),
        };
        for origin in request.headers.get_all(ORIGIN) {
            let is_own = origin.to_str().is_ok_and(|origin| self.is_own(origin, host));
            if !is_own {
                return Err(foreign(origin.as_bytes()));
            }
        }
        match request.headers.get(SEC_FETCH_SITE) {
            Some(site) if site == "cross-site" && !request.headers.contains_key(ORIGIN) => {
                Err(foreign(b"another site"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the origin is the one that the request names, or that of a configured host at the default port, as behind a
    /// proxy that replaces the host.
    fn is_own(&self, origin: &str, host: &Authority) -> bool {
        let Ok(uri) = origin.parse::<Uri>() else { return false };
        let (Some(scheme), Some(own)) = (uri.scheme_str(), uri.authority()) else { return false };
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
        let is_same = own.host().eq_ignore_ascii_case(host.host()) && port(own) == port(host);
        let is_configured = || self.configured.iter().any(|name| name.matches(own.host()));
        is_same || (port(own) == default && is_configured())
    }

    fn allows(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        bare.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.configured.iter().any(|configured| configured.matches(&name))
    }
}

/// Whether a program, not a browser, names an address or `localhost`, as most clients do: a shortcut.
fn is_plainly_local(request: &Parts) -> bool {
    let headers = &request.headers;
    let is_of_browser = headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
    let mut named = headers.get_all(HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else { return false };
    if is_of_browser || request.uri.authority().is_some() {
        return false;
    }
    let Ok(host) = host.to_str() else { return false };
    let has_port = |(_, port): &(&str, &str)| port.parse::<u16>().is_ok();
    let name = host.rsplit_once(':').filter(has_port).map_or(host, |(name, _)| name);
    name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok()
}

/// The host that a request names: exactly one (RFC 9112, section 3.2). Before HTTP/1.1 it is optional.
fn host_of(request: &Parts) -> Result<Option<Authority>, RequestError> {
    let invalid = |problem| RequestError::InvalidHost { problem };
    let mut named = request.headers.get_all(HOST).iter();
    let header = match (named.next(), named.next()) {
        (Some(host), None) => Some(host),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(invalid("several Host headers")),
    };
    let header: Option<Authority> = header
        .map(|host| {
            host.as_bytes().try_into().map_err(|_| invalid("a Host header that names no host"))
        })
        .transpose()?;
    if header.is_none() && request.version == Version::HTTP_11 {
        return Err(invalid("no Host header"));
    }
    // A target with a host outranks the header.
    Ok(request.uri.authority().cloned().or(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: fn() -> Peer =
        || Peer::Tcp { remote: "127.0.0.1:5000".parse().unwrap(), local: None };

    fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request = http::Request::get(uri);
        let add = |request: http::request::Builder, (name, value): &(&str, &str)| {
            request.header(*name, *value)
        };
        headers.iter().fold(request, add).body(()).unwrap().into_parts().0
    }

    fn status(uri: &str, headers: &[(&str, &str)]) -> u16 {
        let names = ["registry.example.org", "*.lan"].map(|name| name.parse().unwrap());
        let checked = AllowedHosts::default().with(names).check(&request(uri, headers), &PEER());
        checked.map_or_else(|error| error.status().as_u16(), |()| 200)
    }

    #[test]
    fn own_addresses_and_names_are_answered_and_others_are_not() {
        for (host, expected) in [
            ("127.0.0.1:7000", 200),
            ("10.0.0.7", 200),
            ("[::1]:7000", 200),
            ("localhost:7000", 200),
            ("LOCALHOST.", 200),
            ("app.localhost:7000", 200),
            ("registry.example.org:7000", 200),
            ("a.lan", 200),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("registry.example.org.evil.example", 421),
            ("notlocalhost", 421),
            ("127.0.0.1.evil.example", 421),
            ("", 400),
            ("a b", 400),
        ] {
            assert_eq!(status("/", &[("host", host)]), expected, "{host:?}");
        }
    }

    #[test]
    fn exactly_one_host_is_required() {
        assert_eq!(status("/", &[]), 400);
        assert_eq!(status("/", &[("host", "127.0.0.1"), ("host", "evil.example")]), 400);
        assert_eq!(status("http://evil.example/", &[("host", "127.0.0.1")]), 421);
        let mut old = request("/", &[]);
        old.version = Version::HTTP_10;
        AllowedHosts::default().check(&old, &PEER()).unwrap();
    }

    #[test]
    fn page_of_another_origin_is_refused() {
        for (host, origin, expected) in [
            ("127.0.0.1:7000", "http://127.0.0.1:7000", 200),
            ("127.0.0.1:7000", "http://127.0.0.1:3000", 403),
            ("localhost:7000", "http://localhost:3000", 403),
            ("127.0.0.1:7000", "http://evil.example", 403),
            ("127.0.0.1:7000", "null", 403),
            ("127.0.0.1:80", "http://127.0.0.1", 200),
            // Behind a proxy with TLS, which names the upstream or passes the host on.
            ("127.0.0.1:7000", "https://registry.example.org", 200),
            ("registry.example.org", "https://registry.example.org", 200),
            ("127.0.0.1:7000", "https://registry.example.org:8443", 403),
            ("127.0.0.1:7000", "file://registry.example.org", 403),
        ] {
            let headers = [("host", host), ("origin", origin)];
            assert_eq!(status("/", &headers), expected, "{host} {origin}");
        }
        for (site, expected) in [("cross-site", 403), ("same-origin", 200), ("none", 200)] {
            let headers = [("host", "127.0.0.1"), ("sec-fetch-site", site)];
            assert_eq!(status("/", &headers), expected, "{site}");
        }
    }

    #[test]
    fn clients_of_a_unix_socket_name_any_host() {
        let peer = Peer::Unix { uid: 0, pid: None };
        let hosts = AllowedHosts::default();
        hosts.check(&request("/", &[("host", "portolan")]), &peer).unwrap();
        assert!(hosts.check(&request("/", &[]), &peer).is_err());
    }
}

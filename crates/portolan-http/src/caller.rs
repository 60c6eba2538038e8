//! Who makes a request: the host of the client, also behind proxies.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, VIA};
use portolan_core::{IpNetwork, NETWORK_ID_HEADER, Vantage};

use crate::Peer;

/// The addresses through which a request came: a list to which each proxy appends its peer.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The host that makes a request.
///
/// A request that was forwarded has the host of the proxy as its peer. The host of the client is taken from
/// `X-Forwarded-For` if the proxy is trusted, and is unknown if not: any client can send the header. It is unknown too if a
/// trusted proxy has added nothing, unless the client is one of Portolan, which says on which host it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    address: Option<IpAddr>,
    vantage: Vantage,
}

// === impl Caller ===

impl Caller {
    /// Returns the caller of a request with these headers, from this peer.
    pub fn new(peer: &Peer, headers: &HeaderMap, trusted: &[IpNetwork]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        let mut peers = [Some(peer.host()), peer.remote()].into_iter().flatten();
        let is_proxy = peers.any(is_trusted);
        let is_forwarded = Self::is_forwarded(headers);
        if !is_forwarded && (!is_proxy || headers.contains_key(NETWORK_ID_HEADER)) {
            return Self::at(peer.host(), peer);
        }
        if !is_forwarded || !is_proxy {
            return Self::UNKNOWN;
        }
        // From the nearest proxy to the client, as far as the proxies are trusted.
        let mut reported_by = peer.host();
        for entry in forwarded_for(headers).iter().rev() {
            let Some(address) = parse(entry) else { return Self::UNKNOWN };
            // Loopback is the host of the proxy that reports it.
            if address.is_loopback() && !reported_by.is_loopback() {
                return Self::UNKNOWN;
            }
            if !is_trusted(address) {
                return Self::at(address, peer);
            }
            reported_by = address;
        }
        match forwarded_for(headers).is_empty() {
            true => Self::UNKNOWN,
            false => Self::at(reported_by, peer),
        }
    }

    /// Whether a proxy has forwarded the request.
    pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
        [FORWARDED, X_FORWARDED_FOR, VIA].iter().any(|name| headers.contains_key(name))
    }

    /// Returns the address of the client's host, the loopback address if that is this host; `None` if it is
    /// unknown.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Returns from where the client sees this host.
    pub fn vantage(&self) -> Vantage {
        self.vantage
    }

    /// A client of which nothing is known.
    pub const UNKNOWN: Self = Self { address: None, vantage: Vantage::UNKNOWN };

    fn at(address: IpAddr, peer: &Peer) -> Self {
        let local = peer.local();
        if address.is_loopback() || Some(address) == local {
            let address = Some(IpAddr::from([127, 0, 0, 1]));
            return Self { address, vantage: Vantage::SameHost };
        }
        let peer = Some(address);
        Self { address: peer, vantage: Vantage::OtherHost { local, peer } }
    }
}

fn forwarded_for(headers: &HeaderMap) -> Vec<&str> {
    let lists = headers.get_all(X_FORWARDED_FOR).into_iter();
    lists.flat_map(|list| list.to_str().unwrap_or("?").split(',')).map(str::trim).collect()
}

/// Parses an address, which some proxies write with a port.
fn parse(entry: &str) -> Option<IpAddr> {
    let with_port = || entry.parse().map(|address: std::net::SocketAddr| address.ip());
    entry.parse().or_else(|_| with_port()).ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The caller of a request that a peer sends to 10.0.0.1, with the `X-Forwarded-For` header.
    fn caller(peer: &str, forwarded_for: &[&str], trusted: &[&str]) -> Caller {
        let local = if peer == "127.0.0.1" { "127.0.0.1" } else { "10.0.0.1" };
        let peer = Peer::Tcp {
            remote: (peer.parse::<IpAddr>().unwrap(), 5000).into(),
            local: Some((local.parse::<IpAddr>().unwrap(), 7000).into()),
        };
        let mut headers = HeaderMap::new();
        for list in forwarded_for {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(list).unwrap());
        }
        let trusted: Vec<IpNetwork> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        Caller::new(&peer, &headers, &trusted)
    }

    /// The address of the caller, and whether it is on this host.
    fn at(caller: Caller) -> (String, bool) {
        let address = caller.address().map_or("unknown".to_owned(), |address| address.to_string());
        (address, caller.vantage() == Vantage::SameHost)
    }

    #[test]
    fn direct_caller_is_the_peer() {
        assert_eq!(at(caller("127.0.0.1", &[], &[])), ("127.0.0.1".into(), true));
        assert_eq!(at(caller("10.0.0.1", &[], &[])), ("127.0.0.1".into(), true), "own address");
        let remote = caller("10.0.0.2", &[], &["10.0.0.3"]);
        let (local, peer) = ("10.0.0.1".parse().ok(), "10.0.0.2".parse().ok());
        assert_eq!(remote.vantage(), Vantage::OtherHost { local, peer });
        assert_eq!(at(remote), ("10.0.0.2".into(), false));
        let unix = Peer::Unix { uid: 0, pid: None };
        assert_eq!(Caller::new(&unix, &HeaderMap::new(), &[]).vantage(), Vantage::SameHost);
    }

    #[test]
    fn caller_behind_a_proxy_that_is_not_trusted_is_unknown() {
        for peer in ["127.0.0.1", "10.0.0.1", "10.0.0.2"] {
            let hidden = caller(peer, &["127.0.0.1"], &["192.168.0.0/16"]);
            assert_eq!((hidden.address(), hidden.vantage()), (None, Vantage::UNKNOWN), "{peer}");
        }
        let peer = Peer::Unix { uid: 0, pid: None };
        for name in [FORWARDED, VIA] {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static("1.1 proxy"))]);
            assert_eq!(Caller::new(&peer, &headers, &[]).vantage(), Vantage::UNKNOWN);
        }
    }

    #[test]
    fn rightmost_address_that_is_not_trusted_is_the_caller() {
        let trusted = ["127.0.0.1", "10.0.0.0/24"];
        for (peer, forwarded_for, expected) in [
            ("127.0.0.1", &["192.168.7.9"][..], ("192.168.7.9", false)),
            ("127.0.0.1", &["127.0.0.1"], ("127.0.0.1", true)),
            ("127.0.0.1", &["6.6.6.6, 192.168.7.9", "10.0.0.5"], ("192.168.7.9", false)),
            ("10.0.0.5", &["192.168.7.9:4000"], ("192.168.7.9", false)),
            ("10.0.0.5", &["[fd00::9]:4000"], ("fd00::9", false)),
            ("10.0.0.5", &["10.0.0.1"], ("127.0.0.1", true)),
            ("10.0.0.5", &["10.0.0.9, 10.0.0.6"], ("10.0.0.9", false)),
            // The loopback address of the proxy's host.
            ("10.0.0.5", &["127.0.0.1"], ("unknown", false)),
            ("10.0.0.5", &["192.168.7.9, ?"], ("unknown", false)),
            ("10.0.0.5", &[""], ("unknown", false)),
        ] {
            let found = at(caller(peer, forwarded_for, &trusted));
            assert_eq!(found, (expected.0.to_owned(), expected.1), "{peer} {forwarded_for:?}");
        }
    }

    #[test]
    fn trusted_proxy_that_adds_nothing_hides_the_caller() {
        for (peer, trusted) in [("127.0.0.1", "127.0.0.1"), ("10.0.0.2", "10.0.0.0/24")] {
            assert_eq!(at(caller(peer, &[], &[trusted])), ("unknown".into(), false));
        }
        // A client of Portolan says on which host it is.
        let peer = Peer::Unix { uid: 0, pid: None };
        let id = HeaderName::from_static(NETWORK_ID_HEADER);
        let headers = HeaderMap::from_iter([(id, HeaderValue::from_static("own"))]);
        let trusted = ["127.0.0.1".parse().unwrap()];
        assert_eq!(Caller::new(&peer, &headers, &trusted).vantage(), Vantage::SameHost);
    }

    #[test]
    fn trusted_proxy_that_does_not_name_the_caller_hides_it() {
        let peer = Peer::Unix { uid: 0, pid: None };
        let headers = HeaderMap::from_iter([(VIA, HeaderValue::from_static("1.1 proxy"))]);
        let trusted = ["127.0.0.1".parse().unwrap()];
        assert_eq!(Caller::new(&peer, &headers, &trusted).vantage(), Vantage::UNKNOWN);
    }
}

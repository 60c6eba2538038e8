//! Servers of a registry that DNS names: `http+srv://example.org` is the SRV records of `_portolan._tcp.example.org`
//! (RFC 2782).

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::proto::rr::Name;
use reqwest::Url;

use super::error::RegistryClientError;
use crate::dns_config::DnsConfig;
use crate::dns_resolver::{DnsError, DomainResolver};
use crate::select::by_weight;

/// The scheme of such a URL.
pub(super) const SCHEME: &str = "http+srv";
/// The service and protocol of the records, unless the URL has its own.
const SERVICE: &str = "_portolan._tcp";
/// The maximum number of servers that a client uses.
const MAX_SERVERS: usize = 16;
/// How long one query may take; it is repeated once.
const ATTEMPT: Duration = Duration::from_millis(500);

/// The SRV records that name the servers of a registry, and the path of their URLs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SrvUrl {
    url: Url,
    name: Name,
}

// === impl SrvUrl ===

impl SrvUrl {
    /// Parses a URL whose scheme is [`SCHEME`].
    pub(super) fn parse(url: Url) -> Result<Self, RegistryClientError> {
        let invalid = |reason: &str| RegistryClientError::invalid_url(url.as_str(), reason);
        if url.port().is_some() {
            return Err(invalid("SRV records have the port, so it has none"));
        }
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() || host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
            return Err(invalid("it has no domain"));
        }
        let name =
            if host.starts_with('_') { host.to_owned() } else { format!("{SERVICE}.{host}") };
        let mut name = Name::from_ascii(&name).map_err(|error| invalid(&error.to_string()))?;
        name.set_fqdn(true);
        Ok(Self { url, name })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Looks the servers up, those of the lowest priority first, those of equal priority in random order by weight.
    pub(super) async fn resolve(
        &self,
        dns_servers: &[SocketAddr],
    ) -> Result<Vec<Url>, RegistryClientError> {
        let failed = |reason: String| RegistryClientError::unreachable(self.url.as_str(), reason);
        let config = DnsConfig { domain: None, servers: dns_servers.to_vec() };
        let resolver = DomainResolver::new(&config, ATTEMPT);
        let resolver = resolver.map_err(|error| failed(DnsError::System(error).to_string()))?;
        let targets = resolver.targets(self.name.clone(), MAX_SERVERS).await;
        let targets = targets.map_err(|error| failed(error.to_string()))?.unwrap_or_default();
        if targets.is_empty() {
            return Err(failed(format!("{} has no SRV record", self.name)));
        }
        let targets = in_order(targets, |srv| (srv.priority, srv.weight), random_below);
        let (mut servers, mut problem) = (Vec::new(), None);
        for (srv, addresses) in resolver.resolve(targets).await {
            match addresses {
                Ok(addresses) => {
                    let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, srv.port));
                    servers.extend(addresses.filter_map(|address| self.at(address)));
                }
                Err(error) => problem = Some(error.to_string()),
            }
        }
        servers.truncate(MAX_SERVERS);
        if servers.is_empty() {
            let no_address = || format!("the targets of {} have no address", self.name);
            return Err(failed(problem.unwrap_or_else(no_address)));
        }
        Ok(servers)
    }

    /// The URL of a server at this address.
    fn at(&self, address: SocketAddr) -> Option<Url> {
        let path = self.url.path().trim_end_matches('/');
        Url::parse(&format!("http://{address}{path}")).ok()
    }
}

/// Orders targets as RFC 2782 says: by priority, and at random in proportion to their weights among equal ones.
fn in_order<T>(
    mut targets: Vec<T>,
    rank: impl Fn(&T) -> (u16, u16),
    random_below: impl Fn(u32) -> u32,
) -> Vec<T> {
    targets.sort_by_key(&rank);
    let mut ordered = Vec::with_capacity(targets.len());
    while let Some((priority, _)) = targets.first().map(&rank) {
        let equal = targets.iter().take_while(|target| rank(target).0 == priority).count();
        let weights = targets[..equal].iter().map(|target| rank(target).1);
        ordered.push(targets.remove(by_weight(weights, &random_below)));
    }
    ordered
}

fn random_below(bound: u32) -> u32 {
    rand::random_range(0..bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<SrvUrl, RegistryClientError> {
        SrvUrl::parse(Url::parse(url).unwrap())
    }

    #[test]
    fn domain_is_that_of_the_service_unless_the_url_names_the_records() {
        let name = |url| parse(url).unwrap().name.to_string();
        assert_eq!(name("http+srv://example.org"), "_portolan._tcp.example.org.");
        let headless = "_http._tcp.registry.default.svc.cluster.local";
        assert_eq!(name(&format!("http+srv://{headless}/path")), format!("{headless}."));
        for invalid in ["http+srv://example.org:7000", "http+srv://10.0.0.7", "http+srv://[::1]"] {
            parse(invalid).unwrap_err();
        }
    }

    #[test]
    fn server_has_the_path_of_the_url() {
        let url = parse("http+srv://example.org/behind/").unwrap();
        let at = |address: &str| url.at(address.parse().unwrap()).unwrap().to_string();
        assert_eq!(at("10.0.0.7:7000"), "http://10.0.0.7:7000/behind");
        assert_eq!(at("[::1]:7000"), "http://[::1]:7000/behind");
    }

    #[test]
    fn targets_are_ordered_by_priority_and_at_random_by_weight() {
        let targets = || vec![(2, 1, 'd'), (1, 0, 'a'), (1, 30, 'c'), (1, 10, 'b')];
        let order = |random: fn(u32) -> u32| -> String {
            let ordered = in_order(targets(), |target| (target.0, target.1), random);
            ordered.iter().map(|target| target.2).collect()
        };
        assert_eq!(order(|_| 0), "abcd");
        assert_eq!(order(|bound| bound - 1), "cbad");
        // 15 of 40 is within the weight of c, which follows a (0) and b (10).
        assert_eq!(order(|bound| if bound == 4003 { 1500 } else { 0 }), "cabd");
    }
}

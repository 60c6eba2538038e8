//! The registry servers that a client knows, and the one that it uses.
//!
//! The servers are equal. A client begins with one at random, so that many clients spread over them, and stays with
//! it until it does not respond. SRV records are looked up by the first request, and again after no server has
//! responded. The server that is used may advertise others, which are asked after those that were given.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use reqwest::{Request, Url};

use super::config::base_url;
use super::error::RegistryClientError;
use super::local::is_loopback;
use super::srv::{self, SrvUrl};

/// Between the URLs of several servers in one text.
const SEPARATOR: char = ',';
/// The largest number of servers that are learned.
const MAX_LEARNED: usize = 16;

/// The servers of one registry.
#[derive(Debug)]
pub(super) struct Servers {
    sources: Vec<Source>,
    /// The name servers of SRV records; those of the system if empty.
    dns_servers: Vec<SocketAddr>,
    known: RwLock<Known>,
    /// Held while SRV records are looked up.
    lookup: tokio::sync::Mutex<()>,
}

/// Where servers are known from.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    /// The URL of one server.
    Url(Url),
    /// SRV records, which name any number of servers.
    Srv(SrvUrl),
}

#[derive(Debug, Clone)]
struct Known {
    /// Those that were given or looked up, then those that were learned.
    bases: Arc<[Url]>,
    /// How many of them were learned.
    learned: usize,
    current: usize,
    /// Whether SRV records must be looked up before the next request.
    is_outdated: bool,
}

/// Checks the URLs of a registry's servers, separated by commas.
pub(crate) fn check_urls(text: &str) -> Result<(), RegistryClientError> {
    sources(text).map(drop)
}

/// Returns the URL of a server in the form in which equal ones have equal texts.
///
/// # Errors
///
/// The URL is not that of a registry.
pub fn normalized_url(text: &str) -> Result<String, RegistryClientError> {
    Source::parse(text.trim()).map(|source| source.text())
}

fn sources(text: &str) -> Result<Vec<Source>, RegistryClientError> {
    text.split(SEPARATOR).map(|url| Source::parse(url.trim())).collect()
}

// === impl Servers ===

impl Servers {
    pub(super) fn parse(
        text: &str,
        dns_servers: Vec<SocketAddr>,
    ) -> Result<Self, RegistryClientError> {
        let sources = sources(text)?;
        let bases: Arc<[Url]> = sources.iter().filter_map(Source::url).cloned().collect();
        let current = if bases.is_empty() { 0 } else { rand::random_range(0..bases.len()) };
        let is_outdated = bases.len() < sources.len();
        let known = RwLock::new(Known { bases, learned: 0, current, is_outdated });
        Ok(Self { sources, dns_servers, known, lookup: tokio::sync::Mutex::default() })
    }

    /// Whether a server is reached by TLS.
    pub(super) fn uses_tls(&self) -> bool {
        self.sources.iter().any(|source| source.url().is_some_and(|url| url.scheme() == "https"))
    }

    /// The URLs of all servers as they were given, separated by commas.
    pub(super) fn text(&self) -> String {
        let urls: Vec<_> = self.sources.iter().map(Source::text).collect();
        urls.join(",")
    }

    /// The URL of the server that is used at the moment.
    pub(super) fn current(&self) -> String {
        let known = self.known.read();
        known.bases.get(known.current).map_or_else(|| self.text(), without_slash)
    }

    /// The servers in the order in which a request asks them.
    ///
    /// # Errors
    ///
    /// No server is known, because the SRV records cannot be looked up.
    pub(super) async fn in_order(&self) -> Result<Vec<Url>, RegistryClientError> {
        if self.known.read().is_outdated {
            self.look_up().await?;
        }
        let Known { bases, current, .. } = self.known.read().clone();
        let (used, others) = bases.split_at(current.min(bases.len()));
        Ok(others.iter().chain(used).cloned().collect())
    }

    /// The server has responded: it is used from now on.
    pub(super) fn use_from_now_on(&self, server: &Url) {
        let mut known = self.known.write();
        if let Some(index) = known.bases.iter().position(|base| base == server) {
            known.current = index;
        }
    }

    /// A server lists the URLs that all advertise; `None` if it does not tell. A URL with another scheme is
    /// left out: the token must not travel with less protection than to the server that lists it. So is one on loopback, which
    /// is another host there.
    pub(super) fn learn(&self, from: &Url, listed: Option<&str>) {
        let Some(listed) = listed else { return };
        let urls = listed.split(SEPARATOR).take(MAX_LEARNED).filter_map(|text| {
            let url = base_url(text.trim()).ok()?;
            let is_here = is_loopback(&url) && !is_loopback(from);
            (url.scheme() == from.scheme() && !is_here).then_some(url)
        });
        let known = self.known.read().clone();
        let mut bases = known.given().to_vec();
        for url in urls {
            if !bases.contains(&url) {
                bases.push(url);
            }
        }
        if *bases != *known.bases {
            self.known.write().replace(bases, known.given().len());
        }
    }

    /// No server has responded: SRV records may name others now.
    pub(super) fn none_responded(&self) {
        let has_records = self.sources.iter().any(|source| matches!(source, Source::Srv(_)));
        self.known.write().is_outdated = has_records;
    }

    /// Looks up the SRV records. If that fails, the servers that are known are kept.
    async fn look_up(&self) -> Result<(), RegistryClientError> {
        let _alone = self.lookup.lock().await;
        if !self.known.read().is_outdated {
            return Ok(());
        }
        let (mut found, mut failed) = (Vec::new(), None);
        for source in &self.sources {
            match source {
                Source::Url(url) => found.push(url.clone()),
                Source::Srv(srv) => match srv.resolve(&self.dns_servers).await {
                    Ok(servers) => found.extend(servers),
                    Err(error) => failed = Some(error),
                },
            }
        }
        let mut known = self.known.write();
        if let Some(error) = failed {
            // Those that were found before may respond again.
            for base in known.given() {
                if !found.contains(base) {
                    found.push(base.clone());
                }
            }
            if found.is_empty() {
                return Err(error);
            }
        }
        let given = found.len();
        let learned = known.bases.iter().skip(known.given().len()).cloned();
        let learned: Vec<_> = learned.filter(|base| !found.contains(base)).collect();
        found.extend(learned);
        known.replace(found, given);
        known.is_outdated = false;
        Ok(())
    }

    /// Directs a request, which was made for any of the servers, to this one.
    pub(super) fn redirect(request: &mut Request, base: &Url) {
        let mut url = base.clone();
        url.set_path(&format!("{}{}", base.path().trim_end_matches('/'), request.url().path()));
        url.set_query(request.url().query());
        *request.url_mut() = url;
    }
}

/// The text of a server's URL.
pub(super) fn without_slash(base: &Url) -> String {
    base.as_str().trim_end_matches('/').to_owned()
}

// === impl Known ===

impl Known {
    /// The servers that were not learned.
    fn given(&self) -> &[Url] {
        &self.bases[..self.bases.len() - self.learned]
    }

    /// Replaces the servers, of which so many are not learned. The one that is used stays if it is among them; else the
    /// first one is used, because SRV records are in order already.
    fn replace(&mut self, bases: Vec<Url>, given: usize) {
        let used = self.bases.get(self.current);
        let current = used.and_then(|used| bases.iter().position(|base| base == used));
        self.learned = bases.len() - given;
        (self.bases, self.current) = (bases.into(), current.unwrap_or(0));
    }
}

// === impl Source ===

impl Source {
    fn parse(text: &str) -> Result<Self, RegistryClientError> {
        let url = base_url(text)?;
        match url.scheme() {
            srv::SCHEME => Ok(Self::Srv(SrvUrl::parse(url)?)),
            _ => Ok(Self::Url(url)),
        }
    }

    fn url(&self) -> Option<&Url> {
        match self {
            Self::Url(url) => Some(url),
            Self::Srv(_) => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Url(url) => without_slash(url),
            Self::Srv(srv) => without_slash(srv.url()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn servers(text: &str) -> Result<Servers, RegistryClientError> {
        Servers::parse(text, Vec::new())
    }

    #[tokio::test]
    async fn servers_are_asked_in_a_circle_from_the_one_that_responded_last() {
        let servers = servers("http://a:1, http://b:2/x,http://c:3").unwrap();
        servers.use_from_now_on(&"http://b:2/x".parse().unwrap());
        assert_eq!(servers.current(), "http://b:2/x");
        let order = servers.in_order().await.unwrap();
        let order: Vec<_> = order.iter().map(without_slash).collect();
        assert_eq!(order, ["http://b:2/x", "http://c:3", "http://a:1"]);
    }

    #[tokio::test]
    async fn advertised_servers_are_asked_after_the_given_ones() {
        let servers = servers("http://a:1").unwrap();
        let from = "http://a:1".parse().unwrap();
        servers.learn(
            &from,
            Some("http://b:2/x, https://c:3,http://a:1/,no URL,http://d:4?e,http://127.0.0.1:7"),
        );
        let order = async || {
            let order = servers.in_order().await.unwrap();
            order.iter().map(without_slash).collect::<Vec<_>>()
        };
        assert_eq!(order().await, ["http://a:1", "http://b:2/x"]);
        servers.use_from_now_on(&"http://b:2/x".parse().unwrap());
        servers.learn(&from, None);
        assert_eq!(order().await, ["http://b:2/x", "http://a:1"]);
        // The one that is used has left.
        servers.learn(&from, Some("http://a:1,http://e:5"));
        assert_eq!(order().await, ["http://a:1", "http://e:5"]);
        assert_eq!(servers.text(), "http://a:1");
        let many: Vec<_> = (0..100).map(|number| format!("http://s{number}:1")).collect();
        servers.learn(&from, Some(&many.join(",")));
        assert_eq!(order().await.len(), 1 + MAX_LEARNED);
    }

    #[test]
    fn clients_begin_with_any_server() {
        let first = |_| servers("http://a:1,http://b:2").unwrap().current();
        assert_eq!((0..100).map(first).collect::<BTreeSet<_>>().len(), 2);
    }

    #[test]
    fn invalid_url_among_several_is_named() {
        for text in ["http://a:1,", "http://a:1,ftp://b", "http+srv://a:1"] {
            let error = servers(text).unwrap_err();
            assert!(matches!(error, RegistryClientError::InvalidUrl { .. }), "{error}");
        }
    }
}

//! The registry servers that a client knows, and the one that it uses.
//!
//! The servers are equal. A client begins with one at random, so that many clients spread over them, and stays with
//! it until it does not respond.

use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Request, Url};

use super::client::base_url;
use super::error::RegistryClientError;

/// Between the URLs of several servers in one text.
const SEPARATOR: char = ',';

/// The servers of one registry.
#[derive(Debug)]
pub(super) struct Servers {
    bases: Vec<Url>,
    current: AtomicUsize,
}

/// Parses the URLs of a registry's servers, separated by commas.
pub(crate) fn base_urls(text: &str) -> Result<Vec<Url>, RegistryClientError> {
    text.split(SEPARATOR).map(|url| base_url(url.trim())).collect()
}

// === impl Servers ===

impl Servers {
    pub(super) fn parse(text: &str) -> Result<Self, RegistryClientError> {
        let bases = base_urls(text)?;
        let current = AtomicUsize::new(rand::random_range(0..bases.len()));
        Ok(Self { bases, current })
    }

    /// The URLs of all servers, separated by commas.
    pub(super) fn text(&self) -> String {
        let urls: Vec<_> =
            self.bases.iter().map(|base| base.as_str().trim_end_matches('/')).collect();
        urls.join(",")
    }

    /// The server that is used at the moment.
    pub(super) fn current(&self) -> &Url {
        &self.bases[self.current.load(Ordering::Relaxed)]
    }

    /// The servers in the order in which a request asks them, with their indices.
    pub(super) fn in_order(&self) -> impl ExactSizeIterator<Item = (usize, &Url)> {
        let (first, count) = (self.current.load(Ordering::Relaxed), self.bases.len());
        (0..count).map(move |offset| {
            let index = (first + offset) % count;
            (index, &self.bases[index])
        })
    }

    /// The server has responded: it is used from now on.
    pub(super) fn use_from_now_on(&self, index: usize) {
        self.current.store(index, Ordering::Relaxed);
    }

    /// Directs a request, which was made for any of the servers, to this one.
    pub(super) fn redirect(request: &mut Request, path: &str, base: &Url) {
        let query = request.url().query().map(str::to_owned);
        let mut url = base.clone();
        url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
        url.set_query(query.as_deref());
        *request.url_mut() = url;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn servers_are_asked_in_a_circle_from_the_one_that_responded_last() {
        let servers = Servers::parse("http://a:1, http://b:2/x,http://c:3").unwrap();
        servers.use_from_now_on(1);
        assert_eq!(servers.current().as_str(), "http://b:2/x");
        let order: Vec<_> = servers.in_order().map(|(index, _)| index).collect();
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn clients_begin_with_any_server() {
        let first = |_| Servers::parse("http://a:1,http://b:2").unwrap().current().to_string();
        assert_eq!((0..100).map(first).collect::<BTreeSet<_>>().len(), 2);
    }

    #[test]
    fn invalid_url_among_several_is_named() {
        for text in ["http://a:1,", "http://a:1,ftp://b"] {
            let error = Servers::parse(text).unwrap_err();
            assert!(matches!(error, RegistryClientError::InvalidUrl { .. }), "{error}");
        }
    }
}

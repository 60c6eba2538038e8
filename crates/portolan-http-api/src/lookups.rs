//! Lookups of one service, which are answered from prepared bytes until the service changes.
//!
//! The first lookup is answered by the route, which leaves the bytes with the registry. The same lookup then needs neither the router
//! nor the encoder. Kept are answers that depend on nothing but the service, the query and the place of the caller: not those of
//! a registry that is incomplete or behind its store, of a stack, or for a client with limited rights.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::request::Parts;
use portolan_core::{ServiceName, Vantage};
use portolan_http::{ConnectionInfo, PreparedAnswers};
use portolan_registry::{Lookup, PreparedAnswer, Query, Stamp};

use crate::Api;
use crate::resources::caller::{Requester, caller_of};
use crate::resources::currency::Currency;
use crate::routes::{NO_CACHE, SERVICES};

/// The type of their answers.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How many headers they have, with those of the middleware.
const HEADERS: usize = 8;
/// What the query of such a lookup begins with.
const BY_NAME: &str = "name=";

/// A lookup whose answer may be kept.
#[derive(Debug)]
pub(crate) struct Repeatable {
    name: ServiceName,
    query: String,
    stamp: Stamp,
}

// === impl Repeatable ===

impl Repeatable {
    /// Returns the lookup if its answer may be kept. To be called before the lookup.
    pub(crate) fn new(
        api: &Api,
        raw: String,
        query: &Query,
        requester: &Requester,
    ) -> Option<Self> {
        let [name] = &query.names[..] else { return None };
        let is_plain = name_in(&raw) == Some(name.as_str()) && requester.identity().is_none();
        let stamp = (is_plain && is_settled(api)).then(|| api.registry().stamp(name)).flatten()?;
        Some(Self { name: name.clone(), query: raw, stamp })
    }

    /// Keeps the answer, unless the service has changed meanwhile.
    pub(crate) fn keep(self, api: &Api, vantage: Vantage, tag: &str, body: &Bytes, found: bool) {
        let Self { name, query, stamp } = self;
        let tag = Bytes::copy_from_slice(tag.as_bytes());
        let answer = PreparedAnswer { body: body.clone(), tag, found };
        api.registry().keep(&name, stamp, Lookup { query: &query, vantage }, answer);
    }
}

impl PreparedAnswers for Api {
    fn may_answer(&self, request: &Parts) -> bool {
        request.uri.path() == SERVICES
            && !request.headers.contains_key(IF_NONE_MATCH)
            && is_settled(self)
    }

    /// Answers a lookup with the bytes that were kept, as its route would.
    fn answer(&self, request: &Parts, connection: &ConnectionInfo) -> Option<Response> {
        let query = request.uri.query()?;
        let name = name_in(query)?;
        let vantage = caller_of(request, connection, self).vantage();
        let answer = self.registry().prepared(name, Lookup { query, vantage })?;
        let mut response = Response::new(Body::from(answer.body));
        let headers = response.headers_mut();
        headers.reserve(HEADERS);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ETAG, HeaderValue::from_maybe_shared(answer.tag).ok()?);
        headers.insert(CACHE_CONTROL, NO_CACHE);
        Currency::EXACT.mark(&mut response);
        Some(response)
    }
}

/// Returns the service that the query names first, if it is written without escapes.
fn name_in(query: &str) -> Option<&str> {
    let rest = query.strip_prefix(BY_NAME)?;
    let name = rest.split_once('&').map_or(rest, |(name, _)| name);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.bytes().all(is_plain).then_some(name)
}

/// Whether answers depend on nothing but the services.
fn is_settled(api: &Api) -> bool {
    let registry = api.registry();
    !api.has_declared()
        && !registry.is_incomplete()
        && !registry.has_server_urls()
        && registry.is_exact()
}

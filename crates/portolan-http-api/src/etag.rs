//! Entity tags: the revision of the last change.
//!
//! The representation also depends on the host of the caller, who gets addresses that it can reach, on whether
//! the registry has just started, on the declared instances that are not ready, and on the rights of the client. All are
//! part of the tag, so that a shared cache never takes the response to one client for the response to another.
//!
//! Weak (RFC 9110, section 8.8.1), because a heartbeat changes an endpoint's `last_heartbeat` without
//! a new revision.

use std::net::IpAddr;

use axum::response::{IntoResponse, Response};
use http::header::{ETAG, HeaderMap, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};
use portolan_core::{DeclaredInstance, Revision, Vantage, fnv1a};

/// What a representation depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version<'a> {
    pub(crate) revision: Revision,
    pub(crate) vantage: Vantage,
    /// The identity of the client, whose rights decide what it sees, and since when it has them.
    pub(crate) identity: Option<(&'a str, Revision)>,
    pub(crate) incomplete: bool,
    pub(crate) declared: &'a [DeclaredInstance],
}

/// Responds with the body, or with 304 if the client already has this representation.
pub(crate) fn respond<R: IntoResponse>(
    headers: &HeaderMap,
    tag: String,
    body: impl FnOnce() -> R,
) -> Response {
    if matches(headers, &tag) {
        return tagged(tag, StatusCode::NOT_MODIFIED);
    }
    tagged(tag, body())
}

/// Responds with the body and its tag.
pub(crate) fn tagged(tag: String, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The tag of settings, which is the number of their version.
pub(crate) fn of_number(version: u64) -> String {
    format!("\"{version}\"")
}

/// Returns the number in a tag of settings.
pub(crate) fn number(tag: &str) -> Option<u64> {
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

// === impl Version ===

impl Version<'_> {
    pub(crate) fn tag(self) -> String {
        let vantage = match self.vantage {
            Vantage::SameHost => String::new(),
            Vantage::OtherHost { local, peer } => {
                let text = |address: Option<IpAddr>| address.map(|address| address.to_string());
                let [local, peer] = [local, peer].map(|address| text(address).unwrap_or_default());
                format!("-{local}-{peer}")
            }
        };
        let incomplete = if self.incomplete { "-incomplete" } else { "" };
        let declared = match self.declared {
            [] => String::new(),
            declared => format!("-{:x}", fnv1a(format!("{declared:?}").into_bytes())),
        };
        let identity = match self.identity {
            None => String::new(),
            Some((identity, since)) => format!("-{identity}-{since}"),
        };
        format!("W/\"{}{vantage}{identity}{incomplete}{declared}\"", self.revision)
    }
}

/// Weak comparison of `If-None-Match` (RFC 9110, section 13.1.2).
pub(crate) fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let given = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given
        .flat_map(|value| value.split(','))
        .any(|one| one.trim() == "*" || opaque(one) == opaque(tag))
}

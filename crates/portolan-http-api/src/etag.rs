//! Entity tags: the revision of the last change.
//!
//! Weak (RFC 9110, section 8.8.1), because a heartbeat changes an endpoint's `last_heartbeat` without
//! a new revision.

use axum::response::{IntoResponse, Response};
use http::header::{ETAG, HeaderMap, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};
use portolan_core::Revision;

/// Responds with the body, or with 304 if the client already has this revision.
pub(crate) fn respond<R: IntoResponse>(
    headers: &HeaderMap,
    revision: Revision,
    body: impl FnOnce() -> R,
) -> Response {
    let tag = format!("W/\"{revision}\"");
    let mut response = if matches(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        body().into_response()
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Weak comparison of `If-None-Match` (RFC 9110, section 13.1.2).
fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let given = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given
        .flat_map(|value| value.split(','))
        .any(|one| one.trim() == "*" || opaque(one) == opaque(tag))
}

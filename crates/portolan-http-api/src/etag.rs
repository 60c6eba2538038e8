//! Entity tags: the revision at which something changed last.
//!
//! Weak ones (RFC 9110, section 8.8.1), because a heartbeat alters an endpoint's bookkeeping and
//! makes no revision.

use axum::response::{IntoResponse, Response};
use http::header::{ETAG, HeaderMap, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};
use portolan_core::Revision;

/// Answers with what is made, or 304 where the client has it in this revision.
pub(crate) fn answer<R: IntoResponse>(
    headers: &HeaderMap,
    revision: Revision,
    make: impl FnOnce() -> R,
) -> Response {
    let tag = format!("W/\"{revision}\"");
    let mut response = match known(headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => make().into_response(),
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn known(headers: &HeaderMap, tag: &str) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let given = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given
        .flat_map(|value| value.split(','))
        .any(|one| one.trim() == "*" || strong(one) == strong(tag))
}

//! The header with the URLs of all servers over the same store, from which clients learn them.

use axum::response::Response;
use http::HeaderValue;
use portolan_core::SERVERS_HEADER;

use crate::Api;

/// The largest number of URLs in a response.
const MAX_SERVERS: usize = 16;

/// Adds the header to a response that is not an error, if any server advertises a URL.
pub(crate) fn advertise(api: &Api, mut response: Response) -> Response {
    let urls = api.registry().server_urls(MAX_SERVERS);
    if urls.is_empty() || !response.status().is_success() {
        return response;
    }
    if let Ok(value) = HeaderValue::from_str(&urls.join(",")) {
        response.headers_mut().insert(SERVERS_HEADER, value);
    }
    response
}

//! The OpenAPI 3.1 document of the API, written by hand in `openapi.json`.
//!
//! The JSON differs from the Rust types (a scope is a metadata entry, a TTL is a number or a text, an
//! event is flattened), so generated schemas would need an override almost everywhere. Instead, tests
//! compare the document with the routes and validate every response of the test suite against it.

use bytes::Bytes;
use serde_json::Value;

const DOCUMENT: &str = include_str!("openapi.json");

/// Returns the document with this version of the server.
pub(crate) fn document(version: &str) -> Bytes {
    let mut document: Value =
        serde_json::from_str(DOCUMENT).expect("the embedded document is JSON, as a test checks");
    document["info"]["version"] = version.into();
    document.to_string().into()
}

#[cfg(test)]
mod tests;

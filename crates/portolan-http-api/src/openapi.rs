//! The description of the API: OpenAPI 3.1, kept by hand in `openapi.json`.
//!
//! By hand, because what travels is not what the types look like: a scope is a metadata entry on
//! the wire, a TTL a number or a text, an event its change in one object. Generated schemas would
//! be overrides throughout; a test holds the document to the routes instead.

use bytes::Bytes;
use serde_json::Value;

const DOCUMENT: &str = include_str!("openapi.json");

/// The document, in the name of this version of the server.
pub(crate) fn document(version: &str) -> Bytes {
    let mut document: Value = serde_json::from_str(DOCUMENT).expect("a test parses it");
    document["info"]["version"] = version.into();
    document.to_string().into()
}

#[cfg(test)]
mod tests;

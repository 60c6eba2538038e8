//! The URI of a request at an instance.

use http::Uri;
use http::uri::Scheme;
use portolan_core::ServiceEndpoint;

/// Returns the same path and query at the address of the instance, by `http`.
///
/// # Errors
/// If the address cannot be written in a URI.
pub fn instance_uri(uri: &Uri, endpoint: &ServiceEndpoint) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let builder = Uri::builder().scheme(Scheme::HTTP).authority(endpoint.address());
    builder.path_and_query(path).build()
}

//! Middleware around every request: tracing span, timeout and access log.

use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use http::header::{HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use tokio::time::{Instant, timeout};
use tracing::{Instrument, debug, field, info, info_span};

use crate::dialect::Errors;
use crate::error::Rejected;
use crate::rejections::AUDIT;
use crate::{ConnectionInfo, Peer, RequestError};

/// The `tracing` target of the access log: one event at level `debug` per response, with the
/// fields `peer`, `method`, `path`, `status` and `duration` (until the response begins).
///
/// The query of a request is not logged, because it can contain a token.
pub const ACCESS_LOG: &str = "portolan_http::access";

/// Checks whether the request names this server, and whether its client may send it, before anything else.
pub(crate) async fn admit(
    Extension(connection): Extension<ConnectionInfo>,
    Extension(errors): Extension<Errors>,
    request: Request,
    next: Next,
) -> Response {
    let (mut head, body) = request.into_parts();
    let (state, peer) = (connection.state(), connection.peer());
    let client = state.forwarded_client(peer, &head.headers).unwrap_or(peer.host());
    let admitted = state.check_host(&head, peer).and_then(|()| state.clients().request(client));
    match admitted {
        Ok(()) => {
            head.extensions.insert(connection.of_client(client));
            next.run(Request::from_parts(head, body)).await
        }
        Err(error) => errors.response(&error),
    }
}

/// Keeps browsers from using a response for what it is not, and from giving it to the pages of other sites.
pub(crate) fn protect(response: &mut Response) {
    const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

/// Runs a request in a span of its own and within the request timeout, and logs the response.
pub(crate) async fn observe(
    State(limit): State<Duration>,
    Extension(connection): Extension<ConnectionInfo>,
    Extension(errors): Extension<Errors>,
    request: Request,
    next: Next,
) -> Response {
    let (peer, method, uri) = (connection.peer(), request.method().clone(), request.uri().clone());
    let path = uri.path();
    let client = connection.state().forwarded_client(peer, request.headers());
    let (address, client) = (client.unwrap_or(peer.host()), client.map(field::display));
    // The target of the audit log, so that a filter that shows its events shows who caused them.
    let span = info_span!(target: AUDIT, "request", %peer, client, %method, path, principal = field::Empty, credential = field::Empty);
    let start = Instant::now();
    let response = timeout(limit, next.run(request).instrument(span.clone())).await;
    let mut response =
        response.unwrap_or_else(|_| errors.response(&RequestError::Timeout { limit }));
    protect(&mut response);
    let status = response.status().as_u16();
    if let Some(Rejected { reason }) = response.extensions_mut().remove() {
        connection.state().metrics().http_rejected(reason);
        if let Some(suppressed) = connection.state().clients().audit(address) {
            span.in_scope(|| {
                info!(
                    target: AUDIT, action = "request", outcome = "denied", reason, status, suppressed,
                    "Request rejected"
                );
            });
        }
    }
    debug!(target: ACCESS_LOG, %peer, %method, path, status, duration = ?start.elapsed(), "Request completed");
    response
}

/// Logs the response to a request that was answered at once.
pub(crate) fn log_prepared(peer: &Peer, request: &Parts, response: &Response) {
    let (method, path, status) = (&request.method, request.uri.path(), response.status().as_u16());
    debug!(target: ACCESS_LOG, %peer, %method, path, status, duration = ?Duration::ZERO, "Request completed");
}

//! Middleware around every request: tracing span, timeout and access log.

use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::{Instant, timeout};
use tracing::{Instrument, debug, info_span};

use crate::dialect::Errors;
use crate::{ConnectionInfo, RequestError};

/// The `tracing` target of the access log: one event at level `debug` per response, with the
/// fields `peer`, `method`, `path`, `status` and `duration` (until the response begins).
///
/// The query of a request is not logged, because it can contain a token.
pub const ACCESS_LOG: &str = "portolan_http::access";

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
    let span = info_span!("request", %peer, %method, path);
    let start = Instant::now();
    let response = timeout(limit, next.run(request).instrument(span)).await;
    let response = response.unwrap_or_else(|_| errors.response(&RequestError::Timeout { limit }));
    let status = response.status().as_u16();
    debug!(target: ACCESS_LOG, %peer, %method, path, status, duration = ?start.elapsed(), "Request completed");
    response
}

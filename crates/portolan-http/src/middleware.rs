//! What surrounds the router of a dialect: tracing span, timeout, the checks of host and client, authentication, and access log.
//!
//! One function and not layers of the router: each layer clones everything below it for each request.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt;
use http::HeaderValue;
use http::header::{HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;
use tracing::{Instrument, debug, error, field, info, info_span};

use crate::dialect::Errors;
use crate::error::Rejected;
use crate::rejections::AUDIT;
use crate::{Authenticator, ConnectionInfo, Peer, RequestError};

/// The `tracing` target of the access log: one event at level `debug` per response, with the
/// fields `peer`, `method`, `path`, `status` and `duration` (until the response begins).
///
/// The query of a request is not logged, because it can contain a token.
pub const ACCESS_LOG: &str = "portolan_http::access";

/// Answers the requests of a dialect.
pub(crate) struct Responder {
    pub(crate) routes: Routes,
    pub(crate) errors: Errors,
    /// How long a request may take.
    pub(crate) limit: Duration,
}

/// What answers a request.
pub(crate) enum Routes {
    /// The router, if the request is admitted and its client is identified.
    Open(Router, Authenticator),
    /// An error, whatever the request is.
    Rejecting(RequestError),
}

// === impl Responder ===

impl Responder {
    /// Answers a request, which has its [`ConnectionInfo`] as extension, in a span of its own and within the timeout, and logs the
    /// response.
    pub(crate) async fn respond(&self, mut request: Request) -> Response {
        request.extensions_mut().insert(self.errors.clone());
        let connection = ConnectionInfo::from_extensions(request.extensions()).clone();
        let (peer, method) = (connection.peer(), request.method().clone());
        let uri = request.uri().clone();
        let path = uri.path();
        let client = connection.state().forwarded_client(peer, request.headers());
        let (address, client) = (client.unwrap_or(peer.host()), client.map(field::display));
        // The target of the audit log, so that a filter that shows its events shows who caused them.
        let span = info_span!(target: AUDIT, "request", %peer, client, %method, path, principal = field::Empty, credential = field::Empty);
        let start = Instant::now();
        let response = timeout(self.limit, self.answer(request).instrument(span.clone())).await;
        let mut response =
            response.unwrap_or_else(|_| self.error(&RequestError::Timeout { limit: self.limit }));
        protect(&mut response);
        if let Some(Rejected { reason }) = response.extensions_mut().remove() {
            connection.state().metrics().http_rejected(reason);
            if let Some(suppressed) = connection.state().clients().audit(address) {
                span.in_scope(|| log_rejected(reason, &response, suppressed));
            }
        }
        let status = response.status().as_u16();
        debug!(target: ACCESS_LOG, %peer, %method, path, status, duration = ?start.elapsed(), "Request completed");
        response
    }

    async fn answer(&self, request: Request) -> Response {
        let (router, authenticator) = match &self.routes {
            Routes::Open(router, authenticator) => (router, authenticator),
            Routes::Rejecting(error) => return self.error(error),
        };
        let answered = async {
            let (mut head, body) = request.into_parts();
            let admitted = admit(&mut head).and_then(|()| authenticator.attach(&mut head));
            match admitted {
                Ok(()) => router.clone().oneshot(Request::from_parts(head, body)).await,
                Err(error) => Ok(self.error(&error)),
            }
        };
        match AssertUnwindSafe(answered).catch_unwind().await {
            Ok(Ok(response)) => response,
            Err(panic) => {
                log_panic(&*panic);
                self.error(&RequestError::Panicked)
            }
        }
    }

    fn error(&self, error: &RequestError) -> Response {
        self.errors.response(error)
    }
}

/// Checks whether the request names this server, and whether its client may send it, before anything else.
fn admit(head: &mut Parts) -> Result<(), RequestError> {
    let connection = ConnectionInfo::from_extensions(&head.extensions);
    let (state, peer) = (connection.state(), connection.peer());
    let client = state.forwarded_client(peer, &head.headers);
    state.check_host(head, peer)?;
    state.clients().request(client.unwrap_or(peer.host()))?;
    if let Some(client) = client {
        let connection = connection.of_client(client);
        head.extensions.insert(connection);
    }
    Ok(())
}

fn log_rejected(reason: &str, response: &Response, suppressed: u64) {
    let status = response.status().as_u16();
    info!(
        target: AUDIT, action = "request", outcome = "denied", reason, status, suppressed,
        "Request rejected"
    );
}

/// Logs the message of a panic, which the client must not see.
fn log_panic(panic: &(dyn Any + Send)) {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    error!(message = message.unwrap_or("unknown"), "Request handler panicked");
}

/// Keeps browsers from using a response for what it is not, and from giving it to the pages of other sites.
pub(crate) fn protect(response: &mut Response) {
    const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

/// Logs the response to a request that was answered at once.
pub(crate) fn log_prepared(peer: &Peer, request: &Parts, response: &Response) {
    let (method, path, status) = (&request.method, request.uri.path(), response.status().as_u16());
    debug!(target: ACCESS_LOG, %peer, %method, path, status, duration = ?Duration::ZERO, "Request completed");
}

//! What holds for every request: it has a span, an end, and an answer even where a handler
//! panics.

use std::any::Any;

use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, debug, error, info_span};

use crate::Api;
use crate::connection::Caller;
use crate::problem::{Kind, Problem};

/// Runs the request under its own span, so that whatever is logged says who asked, and for no
/// longer than a request may take.
pub(crate) async fn attend(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let span = info_span!(
        "request",
        peer = %caller.peer(),
        method = %request.method(),
        path = request.uri().path(),
    );
    let limit = api.bounds().request;
    let attended = async {
        let start = Instant::now();
        let response = match timeout(limit, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(
                Kind::TooSlow,
                format!("there was no answer within {limit:?}; repeat the request"),
            )
            .into_response(),
        };
        debug!(status = response.status().as_u16(), took = ?start.elapsed(), "Request answered");
        response
    };
    attended.instrument(span).await
}

/// The answer of a handler that panicked: the fault is logged here, and not told to the client.
#[expect(clippy::needless_pass_by_value, reason = "this is how the layer hands it over")]
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing");
    error!(said, "A request handler panicked");
    let detail =
        "the request met a fault of the server, which goes on; report it with the server's log";
    Problem::new(Kind::Internal, detail).into_response()
}

//! `/healthz`, `/readyz`, `/metrics`, `/openapi.json`: the server itself.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::Api;
use crate::body::Json;
use crate::problem::{Kind, Problem};

/// How the server is.
#[derive(Debug, Serialize)]
pub(crate) struct Condition {
    status: &'static str,
    version: String,
}

/// `GET /healthz`: whether the server answers at all.
pub(crate) async fn alive(State(api): State<Api>) -> Json<Condition> {
    Json(Condition { status: "ok", version: api.server_version().to_owned() })
}

/// `GET /readyz`: whether the registry knows what there is, and takes changes.
pub(crate) async fn ready(State(api): State<Api>) -> Result<Json<Condition>, Problem> {
    match api.registry().is_ready() {
        true => Ok(Json(Condition { status: "ready", version: api.server_version().to_owned() })),
        false => Err(Problem::new(
            Kind::Unavailable,
            "the registry is starting or shutting down; ask again",
        )),
    }
}

/// `GET /metrics`: the counts, in the Prometheus text format.
pub(crate) async fn metrics(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, portolan_metrics::CONTENT_TYPE)], api.metrics().encode()).into_response()
}

/// `GET /openapi.json`: what this API can do.
pub(crate) async fn openapi(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, "application/json")], api.openapi()).into_response()
}

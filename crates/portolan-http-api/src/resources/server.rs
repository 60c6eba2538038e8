//! `/healthz`, `/readyz`, `/metrics`, `/openapi.json`: the state and description of the server.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::Api;
use crate::body::Json;
use crate::problem::{Problem, ProblemKind};

/// The state of the server.
#[derive(Debug, Serialize)]
pub(crate) struct Condition {
    status: &'static str,
    version: String,
}

/// `GET /healthz`: liveness, 200 as long as the server answers.
pub(crate) async fn live(State(api): State<Api>) -> Json<Condition> {
    Json(Condition { status: "ok", version: api.server_version().to_owned() })
}

/// `GET /readyz`: readiness, 200 if the registry has loaded its state and accepts commands.
pub(crate) async fn ready(State(api): State<Api>) -> Result<Json<Condition>, Problem> {
    if api.registry().is_ready() {
        Ok(Json(Condition { status: "ready", version: api.server_version().to_owned() }))
    } else {
        let detail = "the registry is starting or shutting down";
        Err(Problem::new(ProblemKind::Unavailable, detail).remedy("retry the request"))
    }
}

/// `GET /metrics`: all metrics, in the Prometheus text format.
pub(crate) async fn metrics(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, portolan_metrics::CONTENT_TYPE)], api.metrics().encode()).into_response()
}

/// `GET /openapi.json`: the OpenAPI document of this API.
pub(crate) async fn openapi(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, "application/json")], api.openapi()).into_response()
}

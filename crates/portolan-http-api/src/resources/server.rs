//! `/healthz`, `/readyz`, `/metrics`, `/openapi.json`: the state and description of the server.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use portolan_registry::RegistryStatus;
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
    check_ready(api.registry().status())?;
    Ok(Json(Condition { status: "ready", version: api.server_version().to_owned() }))
}

fn check_ready(status: RegistryStatus) -> Result<(), Problem> {
    let (detail, remedy) = match status {
        RegistryStatus::Ready => return Ok(()),
        RegistryStatus::Loading => ("the registry is loading its state", "retry the request"),
        RegistryStatus::Stale => (
            "the registry is stale: its view lags behind the store",
            "retry the request; if the error persists, check that the store is reachable",
        ),
        RegistryStatus::Closed => {
            ("the registry is shutting down", "retry with another server, or after a restart")
        }
        _ => ("the registry is not ready", "retry the request"),
    };
    Err(Problem::new(ProblemKind::Unavailable, detail).remedy(remedy))
}

/// `GET /metrics`: all metrics, in the Prometheus text format.
pub(crate) async fn metrics(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, portolan_metrics::CONTENT_TYPE)], api.metrics().encode()).into_response()
}

/// `GET /openapi.json`: the OpenAPI document of this API.
pub(crate) async fn openapi(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, "application/json")], api.openapi()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_problem_names_the_status_of_the_registry() {
        assert!(check_ready(RegistryStatus::Ready).is_ok());
        for (status, detail) in [
            (RegistryStatus::Loading, "the registry is loading its state; retry the request"),
            (
                RegistryStatus::Stale,
                "the registry is stale: its view lags behind the store; retry the request; if the \
                 error persists, check that the store is reachable",
            ),
            (
                RegistryStatus::Closed,
                "the registry is shutting down; retry with another server, or after a restart",
            ),
        ] {
            let problem = serde_json::to_value(check_ready(status).unwrap_err()).unwrap();
            assert_eq!((&problem["status"], &problem["detail"]), (&503.into(), &detail.into()));
        }
    }
}

//! `/healthz`, `/readyz`, `/metrics`, `/openapi.json`: the state and description of the server.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use portolan_access::Right;
use portolan_registry::{Registry, RegistryStatus, Staleness};
use serde::Serialize;

use crate::Api;
use crate::body::Json;
use crate::problem::{Problem, ProblemKind};
use crate::resources::caller::Requester;

/// The state of the server.
#[derive(Debug, Serialize)]
pub(crate) struct Condition {
    status: &'static str,
    version: String,
    /// Why registrations and deregistrations are rejected, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only: Option<Arc<str>>,
}

/// `GET /healthz`: liveness, 200 as long as the server answers.
pub(crate) async fn live(State(api): State<Api>) -> Json<Condition> {
    Json(Condition { status: "ok", version: api.server_version().to_owned(), read_only: None })
}

/// `GET /readyz`: readiness, 200 if the registry has loaded its state and accepts commands.
pub(crate) async fn ready(State(api): State<Api>) -> Result<Json<Condition>, Problem> {
    check_ready(api.registry())?;
    let (version, read_only) = (api.server_version().to_owned(), api.registry().read_only());
    Ok(Json(Condition { status: "ready", version, read_only }))
}

/// What to answer instead of "not found" until the registry has loaded its state: it could not tell.
pub(crate) fn not_loaded(registry: &Registry) -> Option<Problem> {
    let (status, stale) = (registry.status(), registry.staleness());
    let is_loading = status == RegistryStatus::Loading;
    let is_loaded = !is_loading && !matches!(stale, Some(Staleness::NotLoaded { .. }));
    if is_loaded { None } else { not_ready(status, stale.as_ref()) }
}

fn check_ready(registry: &Registry) -> Result<(), Problem> {
    let status = registry.status();
    not_ready(status, registry.staleness().as_ref()).map_or(Ok(()), Err)
}

fn not_ready(status: RegistryStatus, stale: Option<&Staleness>) -> Option<Problem> {
    let (detail, remedy) = match (status, stale) {
        (RegistryStatus::Ready, _) => return None,
        (RegistryStatus::Loading, _) => {
            ("the registry is loading its state".to_owned(), "retry the request")
        }
        (RegistryStatus::Closed, _) => (
            "the registry is shutting down".to_owned(),
            "retry with another server, or after a restart",
        ),
        (_, Some(stale)) => (
            stale.to_string(),
            "retry the request; if the error persists, check that the store is reachable",
        ),
        // It was stale a moment ago.
        _ => ("the registry was not ready".to_owned(), "retry the request"),
    };
    Some(Problem::new(ProblemKind::Unavailable, detail).remedy(remedy))
}

/// `GET /metrics`: all metrics, in the Prometheus text format.
pub(crate) async fn metrics(
    State(api): State<Api>,
    requester: Requester,
) -> Result<Response, Problem> {
    requester.check(|grants| grants.check_server(Right::Metrics))?;
    api.metrics().registry_view_age(api.registry().view_age());
    api.metrics().registry_read_only(api.registry().read_only().is_some());
    let page = [(CONTENT_TYPE, portolan_metrics::CONTENT_TYPE)];
    Ok((page, api.metrics().encode()).into_response())
}

/// `GET /openapi.json`: the OpenAPI document of this API.
pub(crate) async fn openapi(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, "application/json")], api.openapi()).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn readiness_problem_says_what_is_wrong() {
        assert!(not_ready(RegistryStatus::Ready, None).is_none());
        let (age, limit) = (Duration::from_millis(12_700), Duration::from_secs(10));
        let reason = Some("lost the feed of the store etcd: connection refused".into());
        let lost = Staleness::Old { age, limit, reason, store: "etcd" };
        let silent = Staleness::Old { age, limit, reason: None, store: "etcd" };
        let never = Staleness::NotLoaded { reason: "connection refused".into() };
        let details = [
            not_ready(RegistryStatus::Loading, None),
            not_ready(RegistryStatus::Stale, Some(&lost)),
            not_ready(RegistryStatus::Stale, Some(&silent)),
            not_ready(RegistryStatus::Stale, Some(&never)),
            not_ready(RegistryStatus::Stale, Some(&Staleness::Late)),
            not_ready(RegistryStatus::Closed, None),
        ];
        let details = details.map(|problem| {
            let problem = serde_json::to_value(problem.unwrap()).unwrap();
            assert_eq!(problem["status"], 503);
            problem["detail"].as_str().unwrap().to_owned()
        });
        insta::assert_snapshot!(details.join("\n"));
    }
}

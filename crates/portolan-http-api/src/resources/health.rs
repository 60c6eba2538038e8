//! `/api/v1/services/{id}/health`: the health status of an instance.

use axum::extract::State;
use http::StatusCode;
use portolan_core::{HealthReport, HealthStatus};
use portolan_registry::Command;
use serde::Deserialize;

use crate::Api;
use crate::body::Json;
use crate::problem::Problem;
use crate::resources::caller::Requester;
use crate::resources::id::Owned;

/// The body. Unknown members are errors, so that a misspelt one is not ignored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    status: HealthStatus,
    #[serde(default)]
    reason: String,
}

/// `PUT`: sets the status and its reason. Does not renew the lease.
pub(crate) async fn set(
    State(api): State<Api>,
    requester: Requester,
    Owned(target): Owned,
    Json(Report { status, reason }): Json<Report>,
) -> Result<StatusCode, Problem> {
    let command = Command::Health(target, HealthReport { status, reason });
    api.registry().execute(command, requester.origin()).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! `/api/v1/services/{id}/health`: the health status of an instance.

use axum::extract::State;
use http::StatusCode;
use portolan_access::Right;
use portolan_core::{CheckResults, HealthReport, HealthStatus};
use portolan_registry::Command;
use serde::{Deserialize, Serialize};

use crate::Api;
use crate::body::Json;
use crate::problem::Problem;
use crate::resources::caller::Requester;
use crate::resources::checks;
use crate::resources::id::{Id, Owned};
use crate::resources::services::find;

/// The body. Unknown members are errors, so that a misspelt one is not ignored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    status: HealthStatus,
    #[serde(default)]
    reason: String,
    /// The results from which an agent derived it.
    checks: Option<CheckResults>,
}

/// The health of an instance, and what its checks have resulted in.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    #[serde(flatten)]
    report: HealthReport,
    /// Who checks it; absent if nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_by: Option<&'static str>,
    /// Whether its heartbeat is late, although its lease has not ended; absent if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    heartbeat_late: bool,
    /// Absent if this server does not know them.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<CheckResults>,
}

/// `GET`: the status, its reason, whether the heartbeat is late, and the last results of the checks.
pub(crate) async fn read(
    State(api): State<Api>,
    requester: Requester,
    Id(id): Id,
) -> Result<Json<Health>, Problem> {
    let endpoint = find(&api, &id)?;
    requester.check(|grants| grants.check(Right::Read, &endpoint.scope, &endpoint.name))?;
    requester.reach(&endpoint)?;
    let checked_by = match endpoint.is_checked_by_agent() {
        true => Some("agent"),
        false => endpoint.health_url.as_ref().map(|_| "registry"),
    };
    let report = HealthReport::new(endpoint.health, endpoint.health_reason.as_str());
    let heartbeat_late = api.registry().is_heartbeat_late(&id);
    let checks = api.last_results().get(&id);
    Ok(Json(Health { report, checked_by, heartbeat_late, checks }))
}

/// `PUT`: sets the status and its reason. Does not renew the lease.
pub(crate) async fn set(
    State(api): State<Api>,
    requester: Requester,
    Owned(target): Owned,
    Json(Report { status, reason, checks }): Json<Report>,
) -> Result<StatusCode, Problem> {
    let id = target.id.clone();
    let command = Command::Health(target, HealthReport { status, reason });
    api.registry().execute(command, requester.origin()).await?;
    checks::keep(&api, &id, checks);
    Ok(StatusCode::NO_CONTENT)
}

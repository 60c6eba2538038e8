//! `/api/v1/services/{id}/heartbeat`: lease renewal.

use axum::extract::State;
use http::StatusCode;
use portolan_core::CheckResults;
use portolan_registry::Command;
use serde::Deserialize;

use crate::Api;
use crate::body::OptionalJson;
use crate::problem::Problem;
use crate::resources::caller::Requester;
use crate::resources::checks;
use crate::resources::id::Owned;

/// The body, which may be absent. Members that are not known are ignored: a heartbeat must not fail because of them.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Heartbeat {
    /// The last results of the checks that the agent runs.
    checks: Option<CheckResults>,
}

/// `PUT`: renews the lease for a full TTL. After 404 the service must register again.
pub(crate) async fn renew(
    State(api): State<Api>,
    requester: Requester,
    Owned(target): Owned,
    OptionalJson(Heartbeat { checks }): OptionalJson<Heartbeat>,
) -> Result<StatusCode, Problem> {
    let id = target.id.clone();
    api.registry().execute(Command::Heartbeat(target), requester.origin()).await?;
    checks::keep(&api, &id, checks);
    Ok(StatusCode::NO_CONTENT)
}

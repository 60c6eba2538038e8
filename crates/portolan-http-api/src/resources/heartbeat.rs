//! `/api/v1/services/{id}/heartbeat`: lease renewal.

use axum::extract::State;
use http::StatusCode;
use portolan_registry::Command;

use crate::Api;
use crate::problem::Problem;
use crate::resources::caller::Requester;
use crate::resources::id::Owned;

/// `PUT`: renews the lease for a full TTL. After 404 the service must register again.
pub(crate) async fn renew(
    State(api): State<Api>,
    requester: Requester,
    Owned(target): Owned,
) -> Result<StatusCode, Problem> {
    api.registry().execute(Command::Heartbeat(target), requester.origin()).await?;
    Ok(StatusCode::NO_CONTENT)
}

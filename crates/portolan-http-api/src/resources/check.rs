//! `/api/v1/services/{id}/check`: a caller that could not connect to an instance says so.

use axum::extract::State;
use http::StatusCode;
use portolan_access::Right;

use crate::Api;
use crate::problem::{Problem, ProblemKind};
use crate::resources::caller::Requester;
use crate::resources::id::Id;
use crate::resources::services::find;

/// `POST`: asks the registry to connect to the instance, which becomes critical if its addresses refuse. Whoever may look the
/// service up or watch it may ask: the report proves nothing by itself.
pub(crate) async fn request(
    State(api): State<Api>,
    requester: Requester,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let reports = api.examined_reports().ok_or_else(|| {
        Problem::new(ProblemKind::Unavailable, "this server does not examine failed connections")
            .remedy("use another instance; the health checks and the TTL of this one decide")
    })?;
    let endpoint = find(&api, &id)?;
    if !requester.may(Right::Watch, &endpoint.scope, &endpoint.name) {
        requester.check(|grants| grants.check(Right::Read, &endpoint.scope, &endpoint.name))?;
    }
    reports.submit(&endpoint.id, requester.origin().peer())?;
    Ok(StatusCode::ACCEPTED)
}

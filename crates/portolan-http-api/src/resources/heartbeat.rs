//! `/api/v1/services/{id}/heartbeat`: signs of life.

use axum::extract::State;
use http::StatusCode;

use crate::Api;
use crate::problem::Problem;
use crate::resources::id::Id;

/// `PUT`: gives the instance its full TTL again. 404 tells its service to register again.
pub(crate) async fn beat(State(api): State<Api>, Id(id): Id) -> Result<StatusCode, Problem> {
    api.registry().heartbeat(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

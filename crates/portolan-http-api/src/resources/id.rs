//! The `{id}` segment of a path.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use portolan_core::ServiceId;
use portolan_registry::CommandTarget;

use crate::parameters::{Parameters, invalid};
use crate::problem::Problem;

/// An extractor of the instance id in the path, percent-decoded and validated.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) ServiceId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| invalid("id", &"not valid UTF-8").remedy("percent-encode UTF-8"))?;
        id.parse().map(Self).map_err(|error| invalid("id", &error))
    }
}

/// An extractor of the id in the path and the incarnation in the query.
#[derive(Debug)]
pub(crate) struct Owned(pub(crate) CommandTarget);

impl<S: Send + Sync> FromRequestParts<S> for Owned {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Id(id) = Id::from_request_parts(parts, state).await?;
        let mut parameters = Parameters::from_request_parts(parts, state).await?;
        let incarnation = parameters.optional("incarnation")?;
        parameters.finish(&["incarnation"])?;
        Ok(Self(CommandTarget { id, incarnation }))
    }
}

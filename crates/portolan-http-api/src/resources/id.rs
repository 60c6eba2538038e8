//! The `{id}` segment of a path.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use portolan_core::ServiceId;

use crate::parameters::invalid;
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

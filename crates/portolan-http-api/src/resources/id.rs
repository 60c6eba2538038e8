//! The `{id}` segment of a path.

use std::fmt::Display;
use std::str::FromStr;

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
        segment("id", parts, state).await.map(Self)
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

/// Returns the only variable segment of the path, percent-decoded and parsed. `name` is its name in errors.
pub(crate) async fn segment<T, S>(name: &str, parts: &mut Parts, state: &S) -> Result<T, Problem>
where
    T: FromStr<Err: Display>,
    S: Send + Sync,
{
    let Path(text) = Path::<String>::from_request_parts(parts, state)
        .await
        .map_err(|_| invalid(name, &"not valid UTF-8").remedy("percent-encode UTF-8"))?;
    text.parse().map_err(|error| invalid(name, &error))
}

//! The `{name}` segment of a path, and the parameter `scope`.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use portolan_registry::SettingsKey;

use crate::parameters::{Parameters, invalid};
use crate::problem::Problem;

/// An extractor of whose settings are meant. Other parameters are errors.
#[derive(Debug)]
pub(crate) struct Key(pub(crate) SettingsKey);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| invalid("name", &"not valid UTF-8").remedy("percent-encode UTF-8"))?;
        let name = name.parse().map_err(|error| invalid("name", &error))?;
        let mut parameters = Parameters::from_request_parts(parts, state).await?;
        let scope = parameters.optional("scope")?.unwrap_or_default();
        parameters.finish(&["scope"])?;
        Ok(Self(SettingsKey { scope, name }))
    }
}

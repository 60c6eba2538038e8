//! The `{name}` segment of a path, and the parameter `scope`.

use axum::extract::FromRequestParts;
use http::request::Parts;
use portolan_registry::SettingsKey;

use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::resources::id::segment;

/// An extractor of whose settings are meant. Other parameters are errors.
#[derive(Debug)]
pub(crate) struct Key(pub(crate) SettingsKey);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = segment("name", parts, state).await?;
        let mut parameters = Parameters::from_request_parts(parts, state).await?;
        let scope = parameters.optional("scope")?.unwrap_or_default();
        parameters.finish(&["scope"])?;
        Ok(Self(SettingsKey { scope, name }))
    }
}

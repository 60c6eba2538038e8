//! The `{id}` of a path.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use portolan_core::ServiceId;

use crate::problem::{Kind, Problem};

/// The instance that a path names, percent-decoded and checked.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) ServiceId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let bad = |detail: String| Problem::new(Kind::BadParameter, detail).param("id");
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| bad(format!("id: {}; percent-encode UTF-8", error.body_text())))?;
        id.parse().map(Self).map_err(|error| bad(format!("id: {error}")))
    }
}

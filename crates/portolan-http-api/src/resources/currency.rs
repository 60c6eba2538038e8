//! How current a response is that reads the view.

use axum::response::Response;
use http::{HeaderName, HeaderValue};
use portolan_registry::RegistryStatus;

use crate::Api;

/// The header with the age of the view in milliseconds. Not `Age` of RFC 9111, which counts in seconds, and from which a
/// cache computes how long it may keep a response.
const VIEW_AGE: HeaderName = HeaderName::from_static("portolan-view-age");
/// The header with which a registry says that its view is older than it may be.
const STALE: HeaderName = HeaderName::from_static("portolan-stale");

/// How current the view is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Currency {
    pub(crate) view_age_ms: u64,
    /// Whether the server is not ready.
    pub(crate) stale: bool,
}

// === impl Currency ===

impl Currency {
    /// What is shown is what the store has.
    pub(crate) const EXACT: Self = Self { view_age_ms: 0, stale: false };

    /// Call it before reading, so that what is read is not older.
    pub(crate) fn of(api: &Api) -> Self {
        let registry = api.registry();
        let view_age_ms = u64::try_from(registry.view_age().as_millis()).unwrap_or(u64::MAX);
        let stale = matches!(registry.status(), RegistryStatus::Loading | RegistryStatus::Stale);
        Self { view_age_ms, stale }
    }

    /// Sets the headers.
    pub(crate) fn mark(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(VIEW_AGE, HeaderValue::from(self.view_age_ms));
        if self.stale {
            headers.insert(STALE, HeaderValue::from_static("true"));
        }
    }
}

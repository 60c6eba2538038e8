//! Failures as answers: `application/problem+json` (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use portolan_registry::RegistryError;
use serde::{Serialize, Serializer};

/// The content type of every failure.
pub(crate) const CONTENT: &str = "application/problem+json";

/// What went wrong, for programs: the status, and the last part of the problem's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BadJson,
    BadParameter,
    BodyCutShort,
    Unauthorized,
    Forbidden,
    NoSuchRoute,
    UnknownInstance,
    MethodNotAllowed,
    BodyTooSlow,
    RegisteredByApi,
    BodyTooLarge,
    NotJson,
    BadMember,
    Internal,
    Full,
    Unavailable,
    TooManyConnections,
    TooSlow,
}

/// A failure that can be answered.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(rename = "type", serialize_with = "as_urn")]
    kind: Kind,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: String,
    /// The member of the body at which it went wrong (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// The parameter of the query, or part of the path, at which it went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<String>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

// === impl Problem ===

impl Problem {
    /// A failure; the detail says what to do about it.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (status, _, title) = kind.description();
        Self {
            kind,
            title,
            status,
            detail: detail.into(),
            pointer: None,
            param: None,
            headers: Vec::new(),
        }
    }

    pub(crate) fn pointer(mut self, pointer: String) -> Self {
        self.pointer = Some(pointer);
        self
    }

    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The member, seen from outside of what was parsed: `/operations/3` before `/service/port`.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.pointer = Some(format!("{outer}{}", self.pointer.as_deref().unwrap_or_default()));
        self.param = None;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a problem has nothing but text in it");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.kind.ends_the_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers.extend(self.headers);
        response
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let detail = error.to_string();
        match error {
            RegistryError::Unknown { .. } => Self::new(Kind::UnknownInstance, detail).param("id"),
            RegistryError::Invalid(_) => Self::new(Kind::BadMember, detail),
            RegistryError::RemoteLoopback { .. } => {
                Self::new(Kind::BadMember, detail).pointer("/host".into())
            }
            RegistryError::RegisteredByApi { .. } => Self::new(Kind::RegisteredByApi, detail),
            RegistryError::Full { .. } | RegistryError::BroadcastFull { .. } => {
                Self::new(Kind::Full, detail)
            }
            // What is added later is at least no fault of the request.
            _ => Self::new(Kind::Unavailable, detail),
        }
    }
}

// === impl Kind ===

impl Kind {
    /// Whether the client must not send its next request behind the rest of this one.
    fn ends_the_connection(self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge | Self::BodyTooSlow | Self::BodyCutShort | Self::TooManyConnections
        )
    }

    fn description(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadJson => (S::BAD_REQUEST, "bad-json", "The body is not JSON"),
            Self::BadParameter => (S::BAD_REQUEST, "bad-parameter", "A parameter cannot be used"),
            Self::BodyCutShort => (S::BAD_REQUEST, "body-cut-short", "The body ended early"),
            Self::Unauthorized => (S::UNAUTHORIZED, "no-token", "A token is needed"),
            Self::Forbidden => (S::FORBIDDEN, "wrong-token", "The token is another one"),
            Self::NoSuchRoute => (S::NOT_FOUND, "no-such-route", "There is nothing here"),
            Self::UnknownInstance => (S::NOT_FOUND, "unknown-instance", "No such instance"),
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "method-not-allowed", "Not with this method")
            }
            Self::BodyTooSlow => (S::REQUEST_TIMEOUT, "body-too-slow", "The body took too long"),
            Self::RegisteredByApi => (S::CONFLICT, "registered-by-api", "The API's word counts"),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::NotJson => (S::UNSUPPORTED_MEDIA_TYPE, "not-json", "The body must be JSON"),
            Self::BadMember => (S::UNPROCESSABLE_ENTITY, "bad-member", "A member cannot be used"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "The server has a fault"),
            Self::Full => (S::SERVICE_UNAVAILABLE, "full", "The registry is full"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "Not at the moment"),
            Self::TooManyConnections => {
                (S::SERVICE_UNAVAILABLE, "too-many-connections", "Too many connections")
            }
            Self::TooSlow => (S::SERVICE_UNAVAILABLE, "too-slow", "The answer took too long"),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn as_urn<S: Serializer>(kind: &Kind, out: S) -> Result<S::Ok, S::Error> {
    let (_, name, _) = kind.description();
    out.collect_str(&format_args!("urn:portolan:problem:{name}"))
}

fn as_number<S: Serializer>(status: &StatusCode, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u16(status.as_u16())
}

//! Problem documents: errors as `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use portolan_http::Rejected;
use serde::{Serialize, Serializer};

/// The content type of every error.
pub(crate) const CONTENT: &str = "application/problem+json";

/// The kind of a problem: decides the status, the `type` and the `title`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    BadJson,
    BadParameter,
    BodyCutShort,
    InvalidHost,
    Misdirected,
    ForeignOrigin,
    Unauthorized,
    Forbidden,
    ExpiredToken,
    MissingRight,
    OpenRegistry,
    FixedConfig,
    ConfigVersion,
    ConfigLocked,
    ConfigVeto,
    SettingRefused,
    NoSuchRoute,
    UnknownInstance,
    NoSettings,
    NoSettingsVersion,
    OutOfReach,
    MethodNotAllowed,
    BodyTooSlow,
    RegisteredByApi,
    RegisteredInConsul,
    AnotherIncarnation,
    OwnedByAnother,
    VersionConflict,
    BodyTooLarge,
    NotJson,
    BadMember,
    Internal,
    NotSupported,
    Full,
    Unavailable,
    TooManyConnections,
    TooMany,
    NoMemory,
    TooSlow,
}

/// A problem document.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(rename = "type", serialize_with = "as_urn")]
    kind: ProblemKind,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    /// What is wrong, and the remedy.
    detail: String,
    /// The remedy by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<Cow<'static, str>>,
    /// The member of the body that is wrong, as a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<Box<str>>,
    /// The query parameter, path segment or header that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<Box<str>>,
    /// Why the server rejects the request on purpose, if it does.
    #[serde(skip)]
    rejected: Option<Rejected>,
}

// === impl Problem ===

impl Problem {
    /// Creates a problem. The detail says what is wrong, the value and what is expected.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let (status, _, title) = kind.description();
        Self {
            kind,
            title,
            status,
            detail: detail.into(),
            remedy: None,
            pointer: None,
            param: None,
            rejected: None,
        }
    }

    /// Counts the response as a rejection.
    pub(crate) fn rejected(self, rejected: Option<Rejected>) -> Self {
        Self { rejected, ..self }
    }

    /// Adds the remedy, to the detail too.
    pub(crate) fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        let remedy = remedy.into();
        self.detail = format!("{}; {remedy}", self.detail);
        self.remedy = Some(remedy);
        self
    }

    pub(crate) fn pointer(mut self, pointer: impl Into<Box<str>>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    pub(crate) fn param(mut self, param: impl Into<Box<str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Prefixes the pointer: `/operations/3` before `/service/port`.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        let inner = self.pointer.as_deref().unwrap_or_default();
        self.pointer = Some(format!("{outer}{inner}").into());
        self.param = None;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a problem consists of text and numbers");
        let mut response = (self.status, body).into_response();
        if let Some(rejected) = self.rejected {
            response.extensions_mut().insert(rejected);
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let is_temporary =
            [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&self.status);
        if is_temporary {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

// === impl ProblemKind ===

impl ProblemKind {
    /// Returns the status, the last part of the `type`, and the title.
    fn description(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadJson => (S::BAD_REQUEST, "bad-json", "Body is not valid JSON"),
            Self::BadParameter => (S::BAD_REQUEST, "bad-parameter", "Invalid parameter"),
            Self::BodyCutShort => (S::BAD_REQUEST, "body-cut-short", "Body is incomplete"),
            Self::InvalidHost => (S::BAD_REQUEST, "invalid-host", "Invalid Host header"),
            Self::Misdirected => {
                (S::MISDIRECTED_REQUEST, "misdirected", "Not a host of this registry")
            }
            Self::ForeignOrigin => (S::FORBIDDEN, "foreign-origin", "Request of a web page"),
            Self::Unauthorized => (S::UNAUTHORIZED, "no-token", "Token required"),
            Self::Forbidden => (S::FORBIDDEN, "wrong-token", "Wrong token"),
            Self::ExpiredToken => (S::FORBIDDEN, "expired-token", "Token has expired"),
            Self::MissingRight => (S::FORBIDDEN, "missing-right", "Right is missing"),
            Self::OpenRegistry => {
                (S::FORBIDDEN, "open-registry", "Registry requires no credentials")
            }
            Self::FixedConfig => {
                (S::NOT_FOUND, "fixed-config", "Settings of the server do not change")
            }
            Self::ConfigVersion => {
                (S::PRECONDITION_FAILED, "config-version", "Settings have another version")
            }
            Self::ConfigLocked => (S::LOCKED, "config-locked", "Settings are locked"),
            Self::ConfigVeto => (S::CONFLICT, "config-veto", "Change was vetoed"),
            Self::SettingRefused => {
                (S::UNPROCESSABLE_ENTITY, "setting-refused", "Setting cannot be changed")
            }
            Self::NoSuchRoute => (S::NOT_FOUND, "no-such-route", "No such route"),
            Self::UnknownInstance => (S::NOT_FOUND, "unknown-instance", "No such instance"),
            Self::NoSettings => (S::NOT_FOUND, "no-settings", "No such settings"),
            Self::NoSettingsVersion => (S::NOT_FOUND, "no-version", "No such version of settings"),
            Self::OutOfReach => (S::NOT_FOUND, "out-of-reach", "Instance is out of reach"),
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::BodyTooSlow => (S::REQUEST_TIMEOUT, "body-too-slow", "Body took too long"),
            Self::RegisteredByApi => (S::CONFLICT, "registered-by-api", "Registered by the API"),
            Self::RegisteredInConsul => {
                (S::CONFLICT, "registered-in-consul", "Registered in Consul")
            }
            Self::AnotherIncarnation => {
                (S::CONFLICT, "another-incarnation", "Owned by another run of the service")
            }
            Self::OwnedByAnother => (S::CONFLICT, "owned-by-another", "Owned by another host"),
            Self::VersionConflict => {
                (S::PRECONDITION_FAILED, "version-conflict", "Settings have another version")
            }
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body-too-large", "Body is too large"),
            Self::NotJson => (S::UNSUPPORTED_MEDIA_TYPE, "not-json", "Content type is not JSON"),
            Self::BadMember => (S::UNPROCESSABLE_ENTITY, "bad-member", "Invalid member"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Self::NotSupported => {
                (S::NOT_IMPLEMENTED, "not-supported", "Not supported by this registry")
            }
            Self::Full => (S::SERVICE_UNAVAILABLE, "full", "Registry is full"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "Registry is unavailable"),
            Self::TooManyConnections => {
                (S::SERVICE_UNAVAILABLE, "too-many-connections", "Too many connections")
            }
            Self::TooMany => (S::TOO_MANY_REQUESTS, "too-many", "Limit of the client reached"),
            Self::NoMemory => (S::SERVICE_UNAVAILABLE, "no-memory", "No memory for the response"),
            Self::TooSlow => (S::SERVICE_UNAVAILABLE, "too-slow", "Request took too long"),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn as_urn<S: Serializer>(kind: &ProblemKind, out: S) -> Result<S::Ok, S::Error> {
    let (_, name, _) = kind.description();
    out.collect_str(&format_args!("urn:portolan:problem:{name}"))
}

fn as_number<S: Serializer>(status: &StatusCode, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u16(status.as_u16())
}

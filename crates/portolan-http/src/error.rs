//! Request errors that every dialect words in its own format.

use std::borrow::Cow;
use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;
use portolan_access::Denied;
use portolan_core::Remedy;

use crate::LimitedResource;

/// An error that the HTTP server detects itself, before, instead of or after a handler.
///
/// The texts are for people and are the same for every dialect; a dialect may use its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// 401: the request has no credentials and the route requires them. Retry with credentials.
    #[error("the request has no token, which this server requires")]
    Unauthorized,
    /// 403: the credentials are not valid here. A retry does not help.
    #[error("the token of the request is not a token of this server")]
    Forbidden,
    /// 403: the token of the request was valid. Retry with a new one.
    #[error("the token {id} of the request expired at {at}")]
    TokenExpired {
        /// The id of the token.
        id: String,
        /// When it expired.
        at: Timestamp,
    },
    /// 503: the server does not know its policies yet, so it cannot judge the credentials. Retry.
    #[error("the policies of the server are not loaded yet")]
    PoliciesLoading,
    /// 403: the client lacks a right. A retry does not help.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// 400: the request names no host, or several. Retry with one `Host` header.
    #[error("the request has {problem}, expected exactly one")]
    InvalidHost {
        /// What the request has instead.
        problem: &'static str,
    },
    /// 421: the request names a host that is not this server. Retry with another name of the server.
    #[error("this server does not answer for the host {host}")]
    Misdirected {
        /// The host, quoted.
        host: String,
    },
    /// 403: a web page of another origin sends the request. A retry does not help.
    #[error("a web page of {origin} sends the request, which only pages of this server may")]
    ForeignOrigin {
        /// The origin, quoted.
        origin: String,
    },
    /// 404: no route of the dialect matches the path. A retry does not help.
    #[error("no route matches the path {path}")]
    NotFound {
        /// The path of the request, cut to 200 characters.
        path: String,
    },
    /// 405: the route has no such method. A retry does not help.
    #[error("the route {route} does not support the method {method}")]
    MethodNotAllowed {
        /// The method of the request.
        method: Method,
        /// The route as the dialect declared it, such as `/services/{id}`.
        route: String,
    },
    /// 413: the body is larger than the limit. Retry with a smaller body.
    #[error("the body is larger than the limit of {limit} bytes")]
    BodyTooLarge {
        /// [`HttpLimits::body_bytes`](crate::HttpLimits::body_bytes).
        limit: usize,
    },
    /// 408: the body did not arrive in time. A retry may help.
    #[error("the body did not arrive within {limit:?}")]
    BodyTimeout {
        /// [`HttpLimits::body`](crate::HttpLimits::body).
        limit: Duration,
    },
    /// 400: the connection ended within the body, or its framing is invalid. A retry may help.
    #[error("the body is incomplete: {reason}")]
    BodyIncomplete {
        /// What the HTTP implementation reports.
        reason: String,
    },
    /// 500: a handler panicked. The server goes on; its log has the panic message. A retry may help.
    #[error("the server failed to handle the request because of a bug")]
    Panicked,
    /// 503: the response did not begin in time. A retry may help.
    #[error("the request was not handled within {limit:?}")]
    Timeout {
        /// [`HttpLimits::request`](crate::HttpLimits::request).
        limit: Duration,
    },
    /// 429: the client uses too much of the server. Retry later.
    #[error("the client has reached its limit of {limit} {what}")]
    TooMany {
        /// What it uses.
        what: LimitedResource,
        /// How many it may.
        limit: usize,
        /// When a retry may help, in seconds.
        retry_after: u64,
    },
    /// 503: too many responses are being read slowly. Retry later.
    #[error(
        "the server has no memory for the response, because too many responses are not read yet"
    )]
    NoMemory,
    /// 503: too many responses without an end are open. A retry helps once some are closed.
    #[error("the limit of {limit} streams of all clients is reached")]
    TooManyStreams {
        /// Four fifths of [`HttpLimits::connections`](crate::HttpLimits::connections).
        limit: usize,
    },
    /// 503: too many connections are open. A retry helps once connections are closed.
    #[error("the limit of {limit} connections is reached")]
    Overloaded {
        /// [`HttpLimits::connections`](crate::HttpLimits::connections).
        limit: usize,
    },
}

/// Why the server rejected a request on purpose, as an extension of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    pub(crate) reason: &'static str,
}

// === impl RequestError ===

impl RequestError {
    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BodyIncomplete { .. } | Self::InvalidHost { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden
            | Self::TokenExpired { .. }
            | Self::Denied(_)
            | Self::ForeignOrigin { .. } => StatusCode::FORBIDDEN,
            Self::Misdirected { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout { .. }
            | Self::Overloaded { .. }
            | Self::TooManyStreams { .. }
            | Self::NoMemory
            | Self::PoliciesLoading => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns why the server rejects the request on purpose, if it does. As an extension of the response, it is counted and
    /// audited.
    pub fn rejected(&self) -> Option<Rejected> {
        let reason = match self {
            Self::Unauthorized => "no_token",
            Self::Forbidden => "wrong_token",
            Self::TokenExpired { .. } => "expired_token",
            Self::Denied(_) => "right",
            Self::InvalidHost { .. } => "invalid_host",
            Self::Misdirected { .. } => "misdirected",
            Self::ForeignOrigin { .. } => "foreign_origin",
            Self::BodyTooLarge { .. } => "large_body",
            Self::BodyTimeout { .. } => "slow_body",
            Self::Overloaded { .. } => "connections",
            Self::TooManyStreams { .. } => "streams",
            Self::NoMemory => "memory",
            Self::TooMany { what, .. } => what.reason(),
            Self::NotFound { .. }
            | Self::MethodNotAllowed { .. }
            | Self::BodyIncomplete { .. }
            | Self::Panicked
            | Self::PoliciesLoading
            | Self::Timeout { .. } => return None,
        };
        Some(Rejected { reason })
    }

    /// Whether the rest of the request may be unread, so that the connection cannot be reused.
    pub(crate) fn ends_connection(&self) -> bool {
        use RequestError as E;
        matches!(
            self,
            E::BodyTooLarge { .. }
                | E::BodyTimeout { .. }
                | E::BodyIncomplete { .. }
                | E::Overloaded { .. }
                | E::TooMany { .. }
                | E::InvalidHost { .. }
                | E::Misdirected { .. }
                | E::ForeignOrigin { .. }
        )
    }
}

impl Remedy for RequestError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::Unauthorized => "send a token of the server",
            Self::Forbidden => "use a token of the server that is not revoked",
            Self::TokenExpired { .. } => "use a new token",
            Self::PoliciesLoading => {
                "retry; if it lasts, the store of the registry cannot be reached"
            }
            Self::Denied(denied) => return denied.remedy(),
            Self::InvalidHost { .. } => {
                "send one Host header with the name or address of the server"
            }
            Self::Misdirected { .. } => {
                "use the address of the server or localhost, or add the name to the allowed hosts of the server"
            }
            Self::ForeignOrigin { .. } => {
                "send the request with a program; behind a reverse proxy, add its name to the allowed hosts of the server"
            }
            Self::NotFound { .. } | Self::MethodNotAllowed { .. } => return None,
            Self::BodyTooLarge { .. } => "split it into several requests",
            Self::BodyTimeout { .. } => "send the body without pauses",
            Self::BodyIncomplete { .. } => "send the request again",
            Self::Panicked => "report it with the log of the server",
            Self::Timeout { .. } => "retry the request",
            Self::TooMany { .. } => "send less, or raise the limit of the server",
            Self::NoMemory => "read responses without pauses, or ask for less at once",
            Self::Overloaded { .. } | Self::TooManyStreams { .. } => {
                "close idle connections and retry"
            }
        };
        Some(remedy.into())
    }
}

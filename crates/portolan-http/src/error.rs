//! Request errors that every dialect words in its own format.

use std::borrow::Cow;
use std::time::Duration;

use http::{Method, StatusCode};
use portolan_core::Remedy;

/// An error that the HTTP server detects itself, before, instead of or after a handler.
///
/// The texts are for people and are the same for every dialect; a dialect may use its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// 401: the request has no credentials and the route requires them. Retry with credentials.
    #[error("the request has no token, which this server requires")]
    Unauthorized,
    /// 403: the credentials are not valid here. A retry does not help.
    #[error("the token of the request is not the token of this server")]
    Forbidden,
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
    /// 503: too many connections are open. A retry helps once connections are closed.
    #[error("the limit of {limit} connections is reached")]
    Overloaded {
        /// [`HttpLimits::connections`](crate::HttpLimits::connections).
        limit: usize,
    },
}

// === impl RequestError ===

impl RequestError {
    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BodyIncomplete { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Timeout { .. } | Self::Overloaded { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the rest of the request is unread, so that the connection cannot be reused.
    pub(crate) fn ends_connection(&self) -> bool {
        use RequestError as E;
        matches!(
            self,
            E::BodyTooLarge { .. }
                | E::BodyTimeout { .. }
                | E::BodyIncomplete { .. }
                | E::Overloaded { .. }
        )
    }
}

impl Remedy for RequestError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::Unauthorized => "send the token that the server was started with",
            Self::Forbidden => "use the token that the server was started with",
            Self::NotFound { .. } | Self::MethodNotAllowed { .. } => return None,
            Self::BodyTooLarge { .. } => "split it into several requests",
            Self::BodyTimeout { .. } => "send the body without pauses",
            Self::BodyIncomplete { .. } => "send the request again",
            Self::Panicked => "report it with the log of the server",
            Self::Timeout { .. } => "retry the request",
            Self::Overloaded { .. } => "close idle connections and retry",
        };
        Some(remedy.into())
    }
}

//! One attempt: what its result says of the instance, and whether the request may be sent to another one.

use http::Method;
use reqwest_middleware::Error;

/// What a failed attempt means for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was sent: another instance may get the request.
    NotSent,
    /// The request may have taken effect: another instance may get it if it is idempotent.
    NoAnswer,
    /// The instance is not to blame.
    Other,
}

/// Classifies the error of an attempt.
pub(crate) fn classify(error: &Error) -> Failure {
    match error {
        Error::Reqwest(error) if error.is_connect() => Failure::NotSent,
        Error::Reqwest(error) if error.is_timeout() || error.is_request() => Failure::NoAnswer,
        Error::Reqwest(_) | Error::Middleware(_) => Failure::Other,
    }
}

/// Returns whether a request of this method may be sent twice (RFC 9110, section 9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    let idempotent =
        [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE];
    idempotent.contains(method)
}

//! Request bodies within limits of size and time.

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::dialect::Errors;
use crate::{ConnectionInfo, HttpLimits, RequestError};

/// An extractor of the whole body. Enforces [`HttpLimits::body_bytes`] and [`HttpLimits::body`];
/// violations are answered by the dialect's error responses.
#[derive(Debug)]
pub struct LimitedBody(pub Bytes);

impl<S: Sync> FromRequest<S> for LimitedBody {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let (head, body) = request.into_parts();
        let limits = ConnectionInfo::from_extensions(&head.extensions).limits();
        match read(&head.headers, body, limits).await {
            Ok(bytes) => {
                ConnectionInfo::from_extensions(&head.extensions).received();
                Ok(Self(bytes))
            }
            Err(error) => Err(Errors::from_extensions(&head.extensions).response(&error)),
        }
    }
}

async fn read(headers: &HeaderMap, body: Body, limits: &HttpLimits) -> Result<Bytes, RequestError> {
    let too_large = RequestError::BodyTooLarge { limit: limits.body_bytes };
    // A body that announces itself as too large is not read at all.
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > limits.body_bytes) {
        return Err(too_large);
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match timeout(limits.body, Limited::new(body, limits.body_bytes).collect()).await {
        Err(_) => Err(RequestError::BodyTimeout { limit: limits.body }),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large),
        Ok(Err(error)) => Err(RequestError::BodyIncomplete { reason: error.to_string() }),
    }
}

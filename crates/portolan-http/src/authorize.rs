//! Routes that require authentication.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::Response;
use tokio_util::either::Either;
use tower::{Layer, Service};

use crate::Principal;
use crate::dialect::Errors;

/// A layer for routes that require authentication: answers 401 or 403 in the dialect's format if the principal is not authorized. Use it
/// as a route layer.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct AuthorizeLayer;

/// The service of an [`AuthorizeLayer`].
#[derive(Debug, Clone)]
pub struct Authorize<S>(S);

// === impl AuthorizeLayer ===

impl AuthorizeLayer {
    /// Creates the layer.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Authorize<S> {
        Authorize(inner)
    }
}

// === impl Authorize ===

impl<S: Service<Request, Response = Response>> Service<Request> for Authorize<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let principal = request.extensions().get().unwrap_or(&Principal::Anonymous);
        match principal.authorize() {
            Ok(()) => Either::Right(self.0.call(request)),
            Err(error) => {
                let errors = Errors::from_extensions(request.extensions());
                Either::Left(ready(Ok(errors.response(&error))))
            }
        }
    }
}

//! The service of one instance, whose errors are reported.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use portolan_core::ServiceEndpoint;
use tower::Service;

use crate::Reporter;

/// The service of one instance. Its errors count as failures of the instance.
#[derive(Debug, Clone)]
pub struct InstanceService<S> {
    service: S,
    reporter: Reporter,
}

/// The response of an instance.
pub struct InstanceFuture<F> {
    response: Pin<Box<F>>,
    reporter: Reporter,
}

// === impl InstanceService ===

impl<S> InstanceService<S> {
    pub(crate) fn new(service: S, reporter: Reporter) -> Self {
        Self { service, reporter }
    }

    /// Returns the instance.
    pub fn endpoint(&self) -> &ServiceEndpoint {
        &self.reporter.endpoint
    }
}

impl<S: Service<Request>, Request> Service<Request> for InstanceService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = InstanceFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let result = ready!(self.service.poll_ready(cx));
        if result.is_err() {
            self.reporter.failed();
        }
        Poll::Ready(result)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let response = Box::pin(self.service.call(request));
        InstanceFuture { response, reporter: self.reporter.clone() }
    }
}

// === impl InstanceFuture ===

impl<F: Future<Output = Result<R, E>>, R, E> Future for InstanceFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let result = ready!(self.response.as_mut().poll(cx));
        if result.is_err() {
            self.reporter.failed();
        }
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for InstanceFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InstanceFuture").field(&self.reporter.endpoint.address()).finish()
    }
}

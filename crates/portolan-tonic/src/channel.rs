//! A gRPC channel over the instances of a service.

mod connection;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use portolan_client::{PickedInstance, ServiceInstances};
use portolan_core::ServiceId;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::body::Body;
use tower::Service;
use tracing::debug;

use connection::{Connections, NotSent};

/// How long an instance may take until its response begins.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call waits for the first instance.
const WAIT: Duration = Duration::from_secs(5);
/// How many instances are tried at most.
const ATTEMPTS: usize = 3;
/// The pause before an instance is tried again, because there is no other: about as long as a program takes to start.
const PAUSE: Duration = Duration::from_millis(100);

/// A gRPC channel over the instances of a service. Clones share the connections.
#[derive(Clone)]
pub struct ServiceChannel {
    instances: ServiceInstances,
    connections: Arc<Connections>,
    timeout: Duration,
    wait: Duration,
    attempts: usize,
    scheme: Scheme,
}

// === impl ServiceChannel ===

impl ServiceChannel {
    /// Returns a channel over these instances.
    pub fn new(instances: ServiceInstances) -> Self {
        let connections = Arc::new(Connections::default());
        let (timeout, wait, attempts) = (TIMEOUT, WAIT, ATTEMPTS);
        Self { instances, connections, timeout, wait, attempts, scheme: Scheme::HTTP }
    }

    /// Encrypts the connections, and authenticates the instances: the certificate of each must have this name, a host name or an
    /// IP address, and be signed by the authority `ca`, or one of the system. A certificate and its key are this client's. The
    /// files are read again when they have changed.
    ///
    /// # Errors
    ///
    /// A file is missing or invalid, the key can be read by everybody, or the name cannot be in a certificate.
    #[cfg(feature = "tls")]
    pub fn tls(
        mut self,
        config: portolan_core::TlsConfig,
        name: &str,
    ) -> Result<Self, portolan_tls::TlsError> {
        let tls = portolan_tls::ServiceTls::load(config, name, &[b"h2"])?;
        self.connections = Arc::new(Connections::encrypted(tls));
        self.scheme = Scheme::HTTPS;
        Ok(self)
    }

    /// Sets how long an instance may take until its response begins. Default 30 s. The deadline of a call, as
    /// [`tonic::Request::set_timeout`] sets it, is enforced by the server.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long a call waits for an instance if there is none. Default 5 s.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets how many instances are tried at most for a call that was not sent, the first one included. Default 3; 0 counts as 1.
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<Incoming>, Status> {
        *request.uri_mut() = self.absolute(request.uri())?;
        let mut tried: Vec<ServiceId> = Vec::new();
        loop {
            let picked = self.pick(&tried).await?;
            tried.push(picked.id.clone());
            let limit = self.timeout;
            let sent = timeout(limit, self.connections.send(&picked, request)).await;
            let error = match sent {
                Ok(Ok(Ok(response))) => {
                    picked.complete();
                    return Ok(response);
                }
                Ok(Ok(Err(error))) => {
                    let message = format!("{}: {error}", picked.address());
                    picked.fail();
                    return Err(status(message, error));
                }
                Ok(Err(not_sent)) => not_sent,
                Err(_) => {
                    let message = format!("{}: no answer within {limit:?}", picked.address());
                    picked.fail();
                    return Err(Status::deadline_exceeded(message));
                }
            };
            let NotSent { request: unsent, error } = error;
            debug!(service_name = %self.instances.name(), address = picked.address(), %error, "Call not sent");
            let message = format!("{}: {error}", picked.address());
            picked.fail();
            match unsent {
                Some(unsent) if tried.len() < self.attempts => request = unsent,
                _ => return Err(status(message, error)),
            }
        }
    }

    /// Selects an instance that was not tried yet; if all were, any of them after a pause.
    async fn pick(&self, tried: &[ServiceId]) -> Result<PickedInstance, Status> {
        if let Some(picked) = self.instances.pick_except(tried) {
            return Ok(picked);
        }
        if !tried.is_empty() {
            sleep(PAUSE).await;
        }
        let picked = self.instances.pick_within(self.wait).await;
        picked.map_err(|error| status(error.to_string(), error))
    }

    /// Returns the URI with the name of the service as its authority, which HTTP/2 requires, unless it has one.
    fn absolute(&self, uri: &Uri) -> Result<Uri, Status> {
        let mut parts = uri.clone().into_parts();
        let invalid = |error: &dyn fmt::Display| Status::internal(format!("{uri}: {error}"));
        if parts.authority.is_none() {
            let name: Result<Authority, _> = self.instances.name().as_str().parse();
            parts.authority = Some(name.map_err(|error| invalid(&error))?);
        }
        parts.scheme.get_or_insert_with(|| self.scheme.clone());
        Uri::from_parts(parts).map_err(|error| invalid(&error))
    }
}

impl Service<Request<Body>> for ServiceChannel {
    type Response = Response<Incoming>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Incoming>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // The instance is selected with the call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().send(request).boxed()
    }
}

impl fmt::Debug for ServiceChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceChannel").field("instances", &self.instances).finish_non_exhaustive()
    }
}

fn status(message: String, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Status {
    let mut status = Status::unavailable(message);
    status.set_source(Arc::from(source.into()));
    status
}

#[cfg(test)]
#[cfg(feature = "tls")]
mod tls_tests;

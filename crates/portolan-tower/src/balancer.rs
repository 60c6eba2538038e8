//! A balancer that compares all instances, by the policy of their set.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use portolan_client::ServiceInstances;
use portolan_core::{Incarnation, ServiceEndpoint, ServiceId};
use tower::{BoxError, Service, ServiceExt};

/// How long a request waits for the first instance.
const WAIT: Duration = Duration::from_secs(5);

/// Sends each request to the instance that the policy of the set selects among all, by a service that `make` creates for
/// each instance. Clones share the services.
///
/// Unlike a choice of two random instances, it needs one good instance only. An error of an instance's service counts as a failure
/// of the instance.
pub struct InstanceBalancer<M, S> {
    instances: ServiceInstances,
    made: Arc<Made<M, S>>,
    wait: Duration,
}

/// The services by instance.
struct Made<M, S> {
    make: M,
    services: Mutex<HashMap<ServiceId, (Run, S)>>,
}

/// What tells one run of an instance from another.
type Run = (String, Option<Incarnation>);

// === impl InstanceBalancer ===

impl<M, S> InstanceBalancer<M, S>
where
    M: Fn(&ServiceEndpoint) -> S,
    S: Clone,
{
    /// Returns a balancer over these instances. `make` must not block: a service connects when it is called.
    pub fn new(instances: ServiceInstances, make: M) -> Self {
        let made = Arc::new(Made { make, services: Mutex::default() });
        Self { instances, made, wait: WAIT }
    }

    /// Sets how long a request waits for an instance if there is none. Default 5 s.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

impl<M, S, Request> Service<Request> for InstanceBalancer<M, S>
where
    M: Fn(&ServiceEndpoint) -> S + Send + Sync + 'static,
    S: Service<Request, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // The instance is selected with the call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { instances, made, wait } = self.clone();
        async move {
            let picked = instances.pick_within(wait).await?;
            let service = made.service(&instances, &picked);
            match service.oneshot(request).await {
                Ok(response) => {
                    picked.complete();
                    Ok(response)
                }
                Err(error) => {
                    picked.fail();
                    Err(error.into())
                }
            }
        }
        .boxed()
    }
}

// === impl Made ===

impl<M: Fn(&ServiceEndpoint) -> S, S: Clone> Made<M, S> {
    /// Returns the service of the instance, made once for each of its runs.
    fn service(&self, instances: &ServiceInstances, endpoint: &ServiceEndpoint) -> S {
        let run = (endpoint.address(), endpoint.incarnation);
        let mut services = self.services.lock();
        if let Some((known, service)) = services.get(&endpoint.id)
            && *known == run
        {
            return service.clone();
        }
        let usable = instances.current();
        services.retain(|id, _| usable.iter().any(|endpoint| endpoint.id == *id));
        let service = (self.make)(endpoint);
        services.insert(endpoint.id.clone(), (run, service.clone()));
        service
    }
}

impl<M, S> Clone for InstanceBalancer<M, S> {
    fn clone(&self) -> Self {
        let (instances, made) = (self.instances.clone(), Arc::clone(&self.made));
        Self { instances, made, wait: self.wait }
    }
}

impl<M, S> fmt::Debug for InstanceBalancer<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceBalancer")
            .field("instances", &self.instances)
            .finish_non_exhaustive()
    }
}

//! Requests by hyper through a balancer for tower, with a timeout and retries.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use portolan::{ServiceEndpoint, ServiceInstances};
use portolan_tower::{Hedge, InstanceBalancer, RetryOnOther, balance, instance_uri};
use tower::buffer::Buffer;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::Caller;

/// How long an instance may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);
/// When a request is sent to a second instance.
const HEDGE_AFTER: Duration = Duration::from_millis(50);
/// How many requests may wait for the balancer.
const WAITING: usize = 100;

type Body = Empty<Bytes>;
type Answer = Response<hyper::body::Incoming>;
type Instance = BoxCloneSyncService<Request<Body>, Answer, BoxError>;

pub(crate) struct TowerCaller {
    service: Instance,
    method: Method,
}

impl TowerCaller {
    /// Balances by tower's choice of two random instances.
    pub(crate) fn of_two(instances: ServiceInstances, is_post: bool) -> Self {
        Self::new(Buffer::new(balance(instances, instance), WAITING), is_post)
    }

    /// Balances by a comparison of all instances.
    pub(crate) fn of_all(instances: ServiceInstances, is_post: bool) -> Self {
        Self::new(InstanceBalancer::new(instances, instance), is_post)
    }

    /// The same, and sends requests that take long to a second instance. Nothing else ends a request to one that hangs.
    pub(crate) fn hedged(instances: ServiceInstances, is_post: bool) -> Self {
        let balancer = InstanceBalancer::new(instances, |endpoint| within(endpoint, NEVER));
        Self::new(Hedge::new(balancer, HEDGE_AFTER), is_post)
    }

    fn new<S>(balanced: S, is_post: bool) -> Self
    where
        S: Service<Request<Body>, Response = Answer, Error = BoxError, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let not_sent = |error: &BoxError| error.downcast_ref().is_some_and(Error::is_connect);
        let retry = RetryOnOther::new(3).not_sent(not_sent);
        let service = ServiceBuilder::new().retry(retry).service(balanced);
        let method = if is_post { Method::POST } else { Method::GET };
        Self { service: BoxCloneSyncService::new(service), method }
    }
}

impl Caller for TowerCaller {
    fn call(&self) -> BoxFuture<'_, Result<String>> {
        async {
            let request = Request::builder().method(&self.method).uri("/").body(Body::new())?;
            let mut service = self.service.clone();
            let service = service.ready().await.map_err(|error| anyhow!(error))?;
            let answer = service.call(request).await.map_err(|error| anyhow!(error))?;
            ensure!(answer.status().is_success(), "{}", answer.status());
            let body = answer.into_body().collect().await?.to_bytes();
            Ok(String::from_utf8(body.into())?)
        }
        .boxed()
    }
}

/// Returns a client of one instance, with connections of its own.
fn instance(endpoint: &ServiceEndpoint) -> Instance {
    within(endpoint, TIMEOUT)
}

/// The same, which may take this long to answer.
fn within(endpoint: &ServiceEndpoint, timeout: Duration) -> Instance {
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let endpoint = endpoint.clone();
    let send = service_fn(move |mut request: Request<Body>| {
        let (client, uri) = (client.clone(), instance_uri(request.uri(), &endpoint));
        async move {
            *request.uri_mut() = uri?;
            Ok::<_, BoxError>(client.request(request).await?)
        }
    });
    BoxCloneSyncService::new(Timeout::new(send, timeout))
}

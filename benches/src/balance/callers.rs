//! The kinds of caller.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use portolan_client::{DiscoveryClient, ServiceInstances};
use portolan_core::ServiceEndpoint;
use portolan_reqwest::ServiceClientBuilder;
use portolan_tonic::ServiceChannel;
use portolan_tower::{Hedge, InstanceBalancer, RetryOnOther, balance, instance_uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::buffer::Buffer;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

use super::{ATTEMPT, HEDGE};

/// Sends a request and waits for the whole response.
pub(crate) type Caller = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

type Body = Empty<Bytes>;
type Answer = Response<hyper::body::Incoming>;
type Instance = BoxCloneSyncService<Request<Body>, Answer, BoxError>;

/// How many requests may wait for tower's balancer.
const WAITING: usize = 1_000;

pub(crate) fn reqwest(discovery: &DiscoveryClient, _: ServiceInstances) -> Result<Caller> {
    let client = ServiceClientBuilder::new(discovery).attempt_timeout(ATTEMPT).build()?;
    Ok(Arc::new(move || {
        let request = client.get("http://api/").send();
        async { request.await?.bytes().await.map(drop).map_err(Into::into) }.boxed()
    }))
}

pub(crate) fn tonic(_: &DiscoveryClient, instances: ServiceInstances) -> Result<Caller> {
    let channel = ServiceChannel::new(instances).timeout(ATTEMPT);
    Ok(Arc::new(move || {
        let mut client = HealthClient::new(channel.clone());
        async move {
            loop {
                // A call that is not answered may be repeated: the method changes nothing.
                match client.check(HealthCheckRequest::default()).await {
                    Err(status) if status.code() == tonic::Code::DeadlineExceeded => {}
                    answer => return Ok(answer.map(drop)?),
                }
            }
        }
        .boxed()
    }))
}

pub(crate) fn tower_of_all(_: &DiscoveryClient, instances: ServiceInstances) -> Result<Caller> {
    caller(InstanceBalancer::new(instances, instance))
}

pub(crate) fn tower_hedged(_: &DiscoveryClient, instances: ServiceInstances) -> Result<Caller> {
    caller(Hedge::new(InstanceBalancer::new(instances, instance), HEDGE))
}

pub(crate) fn tower_of_two(_: &DiscoveryClient, instances: ServiceInstances) -> Result<Caller> {
    caller(Buffer::new(balance(instances, instance), WAITING))
}

fn caller<S>(balanced: S) -> Result<Caller>
where
    S: Service<Request<Body>, Response = Answer, Error = BoxError, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let service = ServiceBuilder::new().retry(RetryOnOther::new(3)).service(balanced);
    let service: Instance = BoxCloneSyncService::new(service);
    Ok(Arc::new(move || {
        let service = service.clone();
        async move {
            let answer = service.oneshot(Request::new(Body::new())).await;
            let answer = answer.map_err(|error| anyhow!(error))?;
            answer.into_body().collect().await?;
            Ok(())
        }
        .boxed()
    }))
}

/// Returns a client of one instance, with connections of its own.
fn instance(endpoint: &ServiceEndpoint) -> Instance {
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let endpoint = endpoint.clone();
    let send = service_fn(move |mut request: Request<Body>| {
        let (client, uri) = (client.clone(), instance_uri(request.uri(), &endpoint));
        async move {
            *request.uri_mut() = uri?;
            Ok::<_, BoxError>(client.request(request).await?)
        }
    });
    BoxCloneSyncService::new(Timeout::new(send, ATTEMPT))
}

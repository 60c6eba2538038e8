//! Requests by hyper through tower's balancer, with a timeout and retries.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use portolan::{DiscoveryClient, ServiceEndpoint};
use portolan_tower::{RetryOnOther, balance, instance_uri};
use tower::buffer::Buffer;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::Caller;

/// How long an instance may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How many requests may wait for the balancer.
const WAITING: usize = 100;

type Body = Empty<Bytes>;
type Instance = BoxCloneSyncService<Request<Body>, Response<hyper::body::Incoming>, BoxError>;

pub(crate) struct TowerCaller {
    service: Instance,
    method: Method,
}

impl TowerCaller {
    pub(crate) async fn new(
        discovery: &DiscoveryClient,
        name: &str,
        is_post: bool,
    ) -> Result<Self> {
        let instances = discovery.instances(name).await?;
        let balanced = Buffer::new(balance(instances, instance), WAITING);
        let not_sent = |error: &BoxError| error.downcast_ref().is_some_and(Error::is_connect);
        let retry = RetryOnOther::new(3).not_sent(not_sent);
        let service = ServiceBuilder::new().retry(retry).service(balanced);
        let method = if is_post { Method::POST } else { Method::GET };
        Ok(Self { service: BoxCloneSyncService::new(service), method })
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
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let endpoint = endpoint.clone();
    let send = service_fn(move |mut request: Request<Body>| {
        let (client, uri) = (client.clone(), instance_uri(request.uri(), &endpoint));
        async move {
            *request.uri_mut() = uri?;
            Ok::<_, BoxError>(client.request(request).await?)
        }
    });
    BoxCloneSyncService::new(Timeout::new(send, TIMEOUT))
}

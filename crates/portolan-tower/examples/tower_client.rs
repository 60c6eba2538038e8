//! Requests to a service through tower's balancer: a hyper client for each instance, a timeout, and retries on another one.
//!
//! `cargo run -p portolan-tower --example tower_client -- greeter-api`

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use portolan::{DiscoveryClient, ServiceEndpoint};
use portolan_tower::{RetryOnOther, balance, instance_uri};
use tower::buffer::Buffer;
use tower::timeout::Timeout;
use tower::util::BoxCloneService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

/// How long an instance may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

type Body = Empty<Bytes>;
type Answer = Response<hyper::body::Incoming>;
type Instance = BoxCloneService<Request<Body>, Answer, BoxError>;

/// Returns a client of one instance, with connections of its own.
fn client(endpoint: &ServiceEndpoint) -> Instance {
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let endpoint = endpoint.clone();
    let send = service_fn(move |mut request: Request<Body>| {
        let (client, uri) = (client.clone(), instance_uri(request.uri(), &endpoint));
        async move {
            *request.uri_mut() = uri?;
            Ok::<_, BoxError>(client.request(request).await?)
        }
    });
    BoxCloneService::new(Timeout::new(send, TIMEOUT))
}

/// Returns whether the connection failed, so that nothing was sent.
fn was_not_sent(error: &BoxError) -> bool {
    error.downcast_ref::<Error>().is_some_and(Error::is_connect)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "greeter-api".to_owned());
    let discovery = DiscoveryClient::builder().from_env()?.build()?;
    let instances = discovery.instances(&name).await?;
    instances.wait(TIMEOUT).await?;
    let balanced = Buffer::new(balance(instances, client), 100);
    let retry = RetryOnOther::new(3).not_sent(was_not_sent);
    let mut service = ServiceBuilder::new().retry(retry).service(balanced);
    let request = Request::get("/").body(Body::new())?;
    let answer = service.ready().await?.call(request).await?;
    println!("{}", answer.status());
    let body = answer.into_body().collect().await?.to_bytes();
    println!("{}", String::from_utf8_lossy(&body));
    discovery.close().await;
    Ok(())
}

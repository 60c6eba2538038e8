//! HTTP requests: hosts, origins, credentials, paths, parameters and bodies. Every response is one that the API describes,
//! and none is an error of the server.
//!
//! The input is a request as HTTP/1.1 writes it.

#![no_main]

use std::str;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use libfuzzer_sys::fuzz_target;
use portolan_http::{ConnectionInfo, HttpLimits, Peer};
use portolan_http_api::Api;
use portolan_metrics::Metrics;
use portolan_registry::{RegistryConfig, open};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

thread_local! {
    static SERVER: (Runtime, Router) = server();
}

fuzz_target!(|data: &[u8]| SERVER.with(|(runtime, router)| {
    let Some(request) = request(data) else { return };
    let response = runtime.block_on(router.clone().oneshot(request)).expect("it is infallible");
    let status = response.status();
    assert!(!status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
}));

fn server() -> (Runtime, Router) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();
    let config = RegistryConfig { max_endpoints: 100, ..RegistryConfig::default() };
    let metrics = Metrics::new();
    let (task, registry) = open(&config, metrics.clone()).expect("a registry");
    runtime.spawn(task.run(std::future::pending()));
    let api = Api::new(registry, metrics).token(Some("the token of the registry"));
    let router = api.dialect().into_router(&HttpLimits::default());
    (runtime, router)
}

/// Reads a request; `None` if hyper would not pass it on.
fn request(data: &[u8]) -> Option<Request<Body>> {
    let end = data.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (&data[..end], &data[end + 4..]);
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut first = str::from_utf8(lines.next()?).ok()?.split(' ');
    let mut request = Request::builder().method(first.next()?).uri(first.next()?);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    let peer = Peer::Tcp {
        remote: ([10, 0, 0, body.first().copied().unwrap_or(1)], 4000).into(),
        local: Some(([10, 0, 0, 1], 7000).into()),
    };
    let info = ConnectionInfo::new(peer, HttpLimits::default(), Default::default());
    request.extension(info).body(Body::from(body.to_vec())).ok()
}

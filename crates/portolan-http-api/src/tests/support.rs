//! A server on a port of its own, and requests to it.

use std::future::{pending, ready};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::FutureExt;
use portolan_http::{HttpLimits, ServeError, serve};
use portolan_metrics::Metrics;
use portolan_registry::{Registry, RegistryConfig, open};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::contract;
use crate::{Api, FailureReports, Sessions};

/// How long any step may take before a test fails: far longer than it needs.
pub(super) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) registry: Registry,
    pub(super) client: Client,
    stop: Option<oneshot::Sender<()>>,
    stop_writer: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Result<(), ServeError>>,
    writing: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::with(|api| api).await
    }

    pub(super) async fn with_limits(limits: HttpLimits) -> Self {
        Self::launch(|api| api, limits, &RegistryConfig::default()).await
    }

    pub(super) async fn with(change: impl FnOnce(Api) -> Api) -> Self {
        Self::launch(change, HttpLimits::default(), &RegistryConfig::default()).await
    }

    pub(super) async fn with_config(config: &RegistryConfig) -> Self {
        Self::launch(|api| api, HttpLimits::default(), config).await
    }

    /// Starts a server that trusts the requests' `X-Forwarded-For`, so that they can come from any host. Without the header
    /// they come from this one, as those of Portolan's clients.
    pub(super) async fn behind_a_proxy() -> Self {
        let proxies = vec![IpAddr::from([127, 0, 0, 1]).into()];
        let mut server = Self::with(|api| api.trusted_proxies(proxies)).await;
        let id = (HeaderName::from_static("portolan-network"), HeaderValue::from_static("own"));
        let client = Client::builder().no_proxy().timeout(TEST_TIMEOUT);
        server.client = client.default_headers(HeaderMap::from_iter([id])).build().unwrap();
        server
    }

    /// Starts a server whose registry never loads its state.
    pub(super) async fn loading() -> Self {
        let (limits, config) = (HttpLimits::default(), RegistryConfig::default());
        Self::launch_after(pending(), |api| api, limits, &config).await
    }

    pub(super) async fn launch(
        change: impl FnOnce(Api) -> Api,
        limits: HttpLimits,
        config: &RegistryConfig,
    ) -> Self {
        Self::launch_after(ready(()), change, limits, config).await
    }

    /// Starts a server whose registry loads its state then.
    async fn launch_after(
        start: impl Future<Output = ()> + Send + 'static,
        change: impl FnOnce(Api) -> Api,
        limits: HttpLimits,
        config: &RegistryConfig,
    ) -> Self {
        let metrics = Metrics::new();
        let (writer, registry) = open(config, metrics.clone()).unwrap();
        let (stop_writer, writer_stopped) = oneshot::channel::<()>();
        let writing = tokio::spawn(async {
            start.await;
            writer.run(writer_stopped.map(drop)).await;
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (sessions, ended) = Sessions::new(registry.clone(), [], metrics.clone());
        // It ends with the server and its sessions.
        drop(tokio::spawn(ended.run(CancellationToken::new())));
        let (reports, examined) = FailureReports::new(registry.clone(), [], metrics.clone());
        drop(tokio::spawn(examined.run(CancellationToken::new())));
        let api = Api::new(registry.clone(), metrics).sessions(sessions).failure_reports(reports);
        let dialects = [change(api).dialect()];
        let serving = tokio::spawn(serve(listener, dialects, limits, stopped.map(drop)));
        let client = Client::builder().no_proxy().timeout(TEST_TIMEOUT).build().unwrap();
        let (stop, stop_writer) = (Some(stop), Some(stop_writer));
        Self { address, registry, client, stop, stop_writer, serving, writing }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub(super) async fn send(&self, method: Method, path: &str, body: Value) -> ApiResponse {
        ApiResponse::read(self.request(method, path).json(&body)).await
    }

    pub(super) async fn get(&self, path: &str) -> ApiResponse {
        ApiResponse::read(self.request(Method::GET, path)).await
    }

    /// Sends a request from this host through the proxy.
    pub(super) async fn send_from(
        &self,
        host: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> ApiResponse {
        let request = self.request(method, path).header("x-forwarded-for", host);
        ApiResponse::read(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    pub(super) async fn register(&self, body: Value) -> ApiResponse {
        self.send(Method::POST, "/api/v1/services", body).await
    }

    /// Stops the registry behind the API.
    pub(super) async fn stop_writer(&mut self) {
        self.stop_writer = None;
        timeout(TEST_TIMEOUT, &mut self.writing).await.unwrap().unwrap();
    }

    /// Shuts the API down and waits until it has ended.
    pub(super) async fn stop(&mut self) {
        self.stop = None;
        timeout(TEST_TIMEOUT, &mut self.serving).await.unwrap().unwrap().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
        self.writing.abort();
    }
}

/// A response, read to its end.
#[derive(Debug)]
pub(super) struct ApiResponse {
    /// Method, path, query and body of the request.
    pub(super) request: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl ApiResponse {
    /// Sends the request, and asserts that the response is as `openapi.json` describes it.
    pub(super) async fn read(request: RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, url) = (request.method().clone(), request.url().clone());
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
        let place = &url[url::Position::BeforePath..];
        let place = format!("{method} {place} {}", String::from_utf8_lossy(body));
        let response = client.execute(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let request = place.trim_end().to_owned();
        let response = Self { request, status, headers, text: response.text().await.unwrap() };
        contract::assert_documented(&method, url.path(), &response);
        response
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the request and the problem document, whose status must be this one.
    #[track_caller]
    pub(super) fn document(&self, status: u16) -> (String, Value) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        (self.request.clone(), self.json())
    }

    /// Returns the problem document, whose status and type must be these.
    #[track_caller]
    pub(super) fn problem(&self, status: u16, kind: &str) -> Value {
        let (_, problem) = self.document(status);
        assert_eq!(problem["status"], status, "{self:?}");
        assert_eq!(problem["type"], format!("urn:portolan:problem:{kind}"), "{self:?}");
        assert!(!problem["title"].as_str().unwrap().is_empty());
        problem
    }
}

/// A registration with the required members only.
pub(super) fn api(port: u16) -> Value {
    json!({"name": "api", "host": "127.0.0.1", "port": port})
}

//! Speaks the registry's HTTP API, one method a request.
//!
//! Completeness nothing of strategies, caches or retries: one call is one request, and only
//! [`RegistryClient::watch_reconnecting`] connects again by itself.

mod clock;
mod error;
mod query;
mod reconnect;
mod response;
mod sse;
mod watch;

use std::fmt;
use std::time::Duration;

use portolan_core::{HealthReport, Registration, ServiceEndpoint, ServiceId};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode, Url};

pub use error::RegistryClientError;
pub use query::{ListQuery, Listing, WatchRequest};
pub use reconnect::ReconnectingWatch;
pub(crate) use reconnect::{ConnectionEvent, ConnectionEvents};
pub use watch::RegistryWatch;

use response::RegistryResponse;

/// Where the registry is and how to speak to it.
#[derive(Clone, PartialEq)]
pub struct RegistryClientConfig {
    /// The registry's address, such as `http://localhost:7000`.
    pub url: String,
    /// The token that the registry asks for, where it asks for one.
    pub token: Option<String>,
    /// How long one request may take from connecting to the last byte. Default 5 s: a registry
    /// answers within milliseconds, so what takes longer will not come.
    pub timeout: Duration,
}

/// A client of one registry; clones share its connections.
#[derive(Clone)]
pub struct RegistryClient {
    http: reqwest::Client,
    base: Url,
    timeout: Duration,
}

/// What a registration led to.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisterResponse {
    /// The endpoint as the registry keeps it.
    pub endpoint: ServiceEndpoint,
    /// Whether it was not there before.
    pub created: bool,
}

// === impl RegistryClientConfig ===

impl RegistryClientConfig {
    /// The registry at this address, with no token.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

impl Default for RegistryClientConfig {
    fn default() -> Self {
        let url = format!("http://localhost:{}", portolan_core::REGISTRY_PORT);
        Self { url, token: None, timeout: Duration::from_secs(5) }
    }
}

impl fmt::Debug for RegistryClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryClientConfig")
            .field("url", &self.url)
            .field("token", &self.token.as_ref().map(|_| "(secret)"))
            .field("timeout", &self.timeout)
            .finish()
    }
}

// === impl RegistryClient ===

impl RegistryClient {
    /// A client that will connect when it is first used. Fails on an address that is none, on
    /// `https://` and on a token that cannot stand in a header; retrying does not help.
    pub fn new(config: RegistryClientConfig) -> Result<Self, RegistryClientError> {
        let RegistryClientConfig { url, token, timeout } = config;
        let base = base_url(&url)?;
        let http = reqwest::Client::builder()
            .default_headers(headers(token.as_deref())?)
            .connect_timeout(timeout)
            // The registry is addressed directly: a proxy of the environment is meant for the web,
            // and a redirect would carry the token somewhere else.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| RegistryClientError::invalid_url(&url, error.to_string()))?;
        Ok(Self { http, base, timeout })
    }

    /// The registry's address.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The same client, with another limit on how long one request may take.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Registers an instance, or registers it anew.
    pub async fn register(
        &self,
        registration: &Registration,
    ) -> Result<RegisterResponse, RegistryClientError> {
        let path = ["services", registration.id().as_str()].map(str::to_owned);
        let request = self.request(Method::PUT, &path).json(registration);
        let answer = self.send(request).await?.accepted()?;
        let created = answer.status() == StatusCode::CREATED;
        Ok(RegisterResponse { endpoint: answer.json().await?, created })
    }

    /// Takes an instance out. [`RegistryClientError::UnknownService`] where there is none of that id.
    pub async fn deregister(&self, id: &ServiceId) -> Result<(), RegistryClientError> {
        self.send_about(id, self.instance(Method::DELETE, id, None)).await.map(drop)
    }

    /// Says that an instance is still there. [`RegistryClientError::UnknownService`] means that it must
    /// register again.
    pub async fn heartbeat(&self, id: &ServiceId) -> Result<(), RegistryClientError> {
        self.send_about(id, self.instance(Method::PUT, id, Some("heartbeat"))).await.map(drop)
    }

    /// Says how well an instance is.
    pub async fn update_health(
        &self,
        id: &ServiceId,
        report: &HealthReport,
    ) -> Result<(), RegistryClientError> {
        let request = self.instance(Method::PUT, id, Some("health")).json(report);
        self.send_about(id, request).await.map(drop)
    }

    /// One instance by its id. [`RegistryClientError::UnknownService`] where there is none.
    pub async fn get(&self, id: &ServiceId) -> Result<ServiceEndpoint, RegistryClientError> {
        self.send_about(id, self.instance(Method::GET, id, None)).await?.json().await
    }

    /// Every instance that fits, and the revision at which this was so.
    pub async fn list(&self, query: &ListQuery) -> Result<Listing, RegistryClientError> {
        let request = self.request(Method::GET, &["services".to_owned()]).query(&query.pairs());
        self.send(request).await?.accepted()?.json().await
    }

    /// The changes of the services asked for, over one connection; it ends when the connection does.
    pub async fn watch(&self, query: &WatchRequest) -> Result<RegistryWatch, RegistryClientError> {
        let request = self
            .request(Method::GET, &["watch".to_owned()])
            .query(&query.pairs())
            .header(ACCEPT, "text/event-stream");
        let answer = self.send(request).await?.accepted()?;
        Ok(RegistryWatch::new(answer.into_event_stream()?, self.url().to_owned()))
    }

    /// The changes of the services asked for, connecting again whenever the connection is lost, and
    /// going on from the last revision seen.
    pub fn watch_reconnecting(&self, query: WatchRequest) -> ReconnectingWatch {
        ReconnectingWatch::new(self.clone(), query)
    }

    fn instance(&self, method: Method, id: &ServiceId, what: Option<&str>) -> RequestBuilder {
        let path = ["services", id.as_str()].into_iter().chain(what).map(str::to_owned);
        self.request(method, &path.collect::<Vec<_>>())
    }

    fn request(&self, method: Method, path: &[String]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        self.http.request(method, url)
    }

    async fn send_about(
        &self,
        id: &ServiceId,
        request: RequestBuilder,
    ) -> Result<RegistryResponse, RegistryClientError> {
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Err(RegistryClientError::UnknownService { id: id.clone() }),
            _ => answer.accepted(),
        }
    }

    /// Sends it, and waits for the head of the answer; a refusal is read to its end.
    async fn send(&self, request: RequestBuilder) -> Result<RegistryResponse, RegistryClientError> {
        let url = self.url().to_owned();
        RegistryResponse::of(request, url, tokio::time::Instant::now() + self.timeout).await
    }
}

impl fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryClient")
            .field("url", &self.url())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Checks that the text is the address of a registry.
pub(crate) fn base_url(text: &str) -> Result<Url, RegistryClientError> {
    let url = Url::parse(text)
        .map_err(|error| RegistryClientError::invalid_url(text, error.to_string()))?;
    match url.scheme() {
        "http" => {}
        "https" => return Err(RegistryClientError::invalid_url(text, "TLS is not supported yet")),
        _ => return Err(RegistryClientError::invalid_url(text, "it does not begin with http://")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RegistryClientError::invalid_url(
            text,
            "a token does not belong into the address",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(RegistryClientError::invalid_url(text, "it has a '?' or a '#'"));
    }
    Ok(url)
}

fn headers(token: Option<&str>) -> Result<HeaderMap, RegistryClientError> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| RegistryClientError::InvalidToken)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;

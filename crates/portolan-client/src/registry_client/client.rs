//! The client of the registry's HTTP API: one method per request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{
    CheckResults, HealthReport, Incarnation, Registration, ServiceEndpoint, ServiceId, ServiceName,
    Vantage,
};
use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, Request, RequestBuilder, StatusCode, Url};
use tokio::time::{Instant, timeout_at};

use super::config::{RegistryClientConfig, headers};
use super::error::RegistryClientError;
use super::health::{HealthBody, HeartbeatBody, InstanceHealth, LastChecks};
use super::local::Local;
use super::query::{ListQuery, Listing, WatchRequest};
use super::response::RegistryResponse;
use super::servers::{Servers, without_slash};
use super::token::Token;
use super::transport::Transport;
use super::watch::RegistryWatch;
use crate::reservations::Reservations;

/// The base of a request before a server is chosen.
const ANY_SERVER: &str = "http://registry/";

/// A client of one registry; clones share its connections. It does not retry; only
/// [`RegistryClient::watch_reconnecting`] reconnects.
///
/// A registry with several servers: the client uses one of them, chosen at random, until that does not respond;
/// the request then goes to the next one within the same timeout. It also does if a response is
/// stale; if all servers are, the first response counts. It learns the servers that the one it uses advertises.
#[derive(Clone)]
pub struct RegistryClient {
    transport: Arc<Transport>,
    headers: HeaderMap,
    servers: Arc<Servers>,
    timeout: Duration,
    incarnation: Option<Incarnation>,
    token: Arc<Token>,
    local: Option<Local>,
}

/// The response to a registration.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisterResponse {
    /// The endpoint as the registry stored it.
    pub endpoint: ServiceEndpoint,
    /// Whether the instance was not registered before.
    pub created: bool,
}

// === impl RegistryClient ===

impl RegistryClient {
    /// Creates a client, which connects by its first use. Fails if the URL, the token or the certificates are not
    /// valid; retrying does not help.
    pub fn new(config: RegistryClientConfig) -> Result<Self, RegistryClientError> {
        let RegistryClientConfig { url, token, token_file, timeout, dns_servers, tls } = config;
        let servers = Arc::new(Servers::parse(&url, dns_servers)?);
        let token = Arc::new(Token::new(token.as_ref(), token_file)?);
        let headers = headers();
        let transport = Transport::new(headers.clone(), timeout, tls, servers.uses_tls())?;
        let transport = Arc::new(transport);
        Ok(Self { transport, headers, servers, timeout, incarnation: None, token, local: None })
    }

    /// Returns the same client, which reaches a registry on this host by its Unix socket if it has one, and sends its token
    /// to no other user of this host.
    pub fn on_host(mut self, host: Arc<dyn Reservations>) -> Self {
        self.local = Some(Local::new(host));
        self
    }

    /// Returns the same client without its connections: those of an address that this host has lost answer
    /// nothing, and a request on one of them would fail at its deadline only.
    pub fn without_connections(self) -> Self {
        if let Some(local) = &self.local {
            local.forget();
        }
        self.transport.reconnect();
        self
    }

    /// Returns the registry's URL; of several servers, that of the one that is used at the moment.
    pub fn url(&self) -> String {
        self.servers.current()
    }

    /// Returns the URLs of all servers as they were given, separated by commas.
    pub fn urls(&self) -> String {
        self.servers.text()
    }

    /// Returns the same client with another request timeout.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns the same client with the incarnation of a registrant, which it sends with heartbeats, health
    /// reports and deregistrations. The registry refuses them with [`RegistryClientError::Conflict`] if another
    /// run of the registrant owns the registration.
    pub fn with_incarnation(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = Some(incarnation);
        self
    }

    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// Registers an instance, or replaces its registration.
    pub async fn register(
        &self,
        registration: &Registration,
    ) -> Result<RegisterResponse, RegistryClientError> {
        let path = ["services", registration.id().as_str()].map(str::to_owned);
        let request = self.request(Method::PUT, &path).json(registration);
        let response = self.send(request).await?.accepted()?;
        let created = response.status() == StatusCode::CREATED;
        Ok(RegisterResponse { endpoint: response.json().await?, created })
    }

    /// Deregisters an instance. Fails with [`RegistryClientError::UnknownService`] for an unknown id.
    pub async fn deregister(&self, id: &ServiceId) -> Result<(), RegistryClientError> {
        self.send_for(id, self.owned(Method::DELETE, id, None)).await.map(drop)
    }

    /// Renews the lease of an instance. [`RegistryClientError::UnknownService`] means that the
    /// instance must register again.
    pub async fn heartbeat(&self, id: &ServiceId) -> Result<(), RegistryClientError> {
        self.heartbeat_with(id, None).await
    }

    /// Does the same, and reports the results of the checks that this process runs.
    pub async fn heartbeat_with(
        &self,
        id: &ServiceId,
        checks: Option<&CheckResults>,
    ) -> Result<(), RegistryClientError> {
        let request = self.owned(Method::PUT, id, Some("heartbeat"));
        let request = match checks {
            Some(checks) => request.json(&HeartbeatBody { checks }),
            None => request,
        };
        self.send_for(id, request).await.map(drop)
    }

    /// Reports the health of an instance.
    pub async fn update_health(
        &self,
        id: &ServiceId,
        report: &HealthReport,
    ) -> Result<(), RegistryClientError> {
        self.update_health_with(id, report, None).await
    }

    /// Does the same, with the results of the checks from which it is derived.
    pub async fn update_health_with(
        &self,
        id: &ServiceId,
        report: &HealthReport,
        checks: Option<&CheckResults>,
    ) -> Result<(), RegistryClientError> {
        let body = HealthBody { report, checks };
        let request = self.owned(Method::PUT, id, Some("health")).json(&body);
        self.send_for(id, request).await.map(drop)
    }

    /// Says that a connection to an instance failed. The registry connects to it at once; if it refuses, it becomes critical.
    /// Needs the right to read or to watch the service. Fails with [`RegistryClientError::UnknownService`] for an unknown id,
    /// and with a registry that knows no such reports.
    pub async fn request_check(&self, id: &ServiceId) -> Result<(), RegistryClientError> {
        self.send_for(id, self.instance(Method::POST, id, Some("check"))).await.map(drop)
    }

    /// Returns the health of an instance with the last results of its checks. Fails with
    /// [`RegistryClientError::UnknownService`] for an unknown id.
    pub async fn health(&self, id: &ServiceId) -> Result<InstanceHealth, RegistryClientError> {
        let request = self.instance(Method::GET, id, Some("health"));
        self.send_for(id, request).await?.json().await
    }

    /// Returns the last results of the checks of a service, or of all, as far as the server knows them, and the instances whose heartbeat is late. Servers over one store
    /// do not share them.
    pub async fn checks(
        &self,
        name: Option<&ServiceName>,
    ) -> Result<LastChecks, RegistryClientError> {
        let query = name.map(|name| ("name", name.as_str()));
        let request = self.request(Method::GET, &["checks".to_owned()]).query(query.as_slice());
        self.send(request).await?.accepted()?.json().await
    }

    /// Returns an instance. Fails with [`RegistryClientError::UnknownService`] for an unknown id.
    pub async fn get(&self, id: &ServiceId) -> Result<ServiceEndpoint, RegistryClientError> {
        let response = self.send_for(id, self.instance(Method::GET, id, None)).await?;
        let vantage = response.vantage();
        let endpoint: ServiceEndpoint = response.json().await?;
        Ok(endpoint.seen_from(vantage).unwrap_or(endpoint))
    }

    /// Returns the instances that match the query, and the revision of the list. Instances that listen on
    /// loopback of another host are left out.
    pub async fn list(&self, query: &ListQuery) -> Result<Listing, RegistryClientError> {
        let request = self.request(Method::GET, &["services".to_owned()]).query(&query.pairs());
        let response = self.send(request).await?.accepted()?;
        let vantage = response.vantage();
        let mut listing: Listing = response.json().await?;
        if vantage != Vantage::SameHost {
            let services = listing.services.iter();
            listing.services = services.filter_map(|found| found.seen_from(vantage)).collect();
        }
        Ok(listing)
    }

    /// Watches services over one connection; the stream ends with the connection.
    pub async fn watch(&self, query: &WatchRequest) -> Result<RegistryWatch, RegistryClientError> {
        let request = self
            .request(Method::GET, &["watch".to_owned()])
            .query(&query.pairs())
            .header(ACCEPT, "text/event-stream");
        let response = self.send(request).await?.accepted()?;
        let vantage = response.vantage();
        let url = response.url().to_owned();
        Ok(RegistryWatch::new(response.into_event_stream()?, url, vantage))
    }

    fn instance(&self, method: Method, id: &ServiceId, what: Option<&str>) -> RequestBuilder {
        let path = ["services", id.as_str()].into_iter().chain(what).map(str::to_owned);
        self.request(method, &path.collect::<Vec<_>>())
    }

    /// A request that only the owner of the registration may make.
    pub(super) fn owned(
        &self,
        method: Method,
        id: &ServiceId,
        what: Option<&str>,
    ) -> RequestBuilder {
        let incarnation =
            self.incarnation.map(|incarnation| ("incarnation", incarnation.to_string()));
        let request = self.instance(method, id, what);
        match incarnation {
            Some(pair) => request.query(&[pair]),
            None => request,
        }
    }

    /// A request to whichever server is used.
    pub(super) fn request(&self, method: Method, path: &[String]) -> RequestBuilder {
        let path = path.iter().map(String::as_str);
        self.request_at(method, &["api", "v1"].into_iter().chain(path).collect::<Vec<_>>())
    }

    /// The same, with a path that is not one of the API's.
    pub(super) fn request_at(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = Url::parse(ANY_SERVER).expect("it is a constant");
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        self.transport.client().request(method, url)
    }

    /// Sends a request, which was made for any of the servers, to this one: on this host by its socket, else by TCP.
    async fn send_to(
        &self,
        base: &Url,
        request: &Request,
        deadline: Instant,
    ) -> Result<RegistryResponse, RegistryClientError> {
        let url = without_slash(base);
        let with = |client: reqwest::Client| {
            let mut attempt = request.try_clone().expect("the body is in memory");
            Servers::redirect(&mut attempt, base);
            RequestBuilder::from_parts(client, attempt)
        };
        let local = self.local.as_ref();
        let socket = local.and_then(|it| it.socket(base, &self.headers, self.timeout));
        if let Some(client) = socket {
            let attempt = RegistryResponse::receive(with(client), url.clone(), deadline).await;
            match attempt {
                Err(RegistryClientError::Unreachable { .. }) if Instant::now() < deadline => {
                    // The registry has ended, and another one may listen by now. Every request may be repeated.
                    local.inspect(|local| local.forget());
                }
                result => return result.map(RegistryResponse::on_this_host),
            }
        }
        match local {
            Some(local) if self.token.is_some() => local.check_listener(base)?,
            Some(local) => local.note_listener(base),
            None => {}
        }
        RegistryResponse::receive(with(self.transport.client()), url, deadline).await
    }

    pub(super) async fn send_for(
        &self,
        id: &ServiceId,
        request: RequestBuilder,
    ) -> Result<RegistryResponse, RegistryClientError> {
        let response = self.send(request).await?;
        if let Some(detail) = response.out_of_reach() {
            return Err(RegistryClientError::OutOfReach { id: id.clone(), detail });
        }
        if response.status() == StatusCode::NOT_FOUND {
            return Err(RegistryClientError::UnknownService { id: id.clone() });
        }
        response.accepted()
    }

    /// Sends a request and waits for the head of the response; the body of an error is read too. If the token is refused and
    /// there is a newer one, the request is sent with that.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
    ) -> Result<RegistryResponse, RegistryClientError> {
        let request = request.build();
        let mut request =
            request.map_err(|error| RegistryClientError::in_transit(&self.url(), &error))?;
        self.token.put(request.headers_mut());
        let response = self.send_to_any(&request).await?;
        let is_refused =
            matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        match is_refused && self.token.renew(request.headers_mut()) {
            true => self.send_to_any(&request).await,
            false => Ok(response),
        }
    }

    /// Sends a request to one server after the other. One that does not respond, or is not ready, leaves an equal share of the
    /// remaining time to each of the others.
    async fn send_to_any(
        &self,
        request: &Request,
    ) -> Result<RegistryResponse, RegistryClientError> {
        let deadline = Instant::now() + self.timeout;
        let in_order = timeout_at(deadline, self.servers.in_order()).await;
        let in_order = in_order.unwrap_or_else(|_| {
            let reason = "the name servers did not answer in time";
            Err(RegistryClientError::unreachable(&self.url(), reason))
        })?;
        let mut servers = in_order.iter();
        let (mut failures, mut stale) = (Vec::new(), None);
        while let Some(base) = servers.next() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(servers.len() + 1).unwrap_or(u32::MAX);
            match self.send_to(base, request, Instant::now() + share).await {
                Ok(response) if response.is_not_ready() && servers.len() > 0 => {}
                Ok(response) if response.is_stale() => {
                    stale.get_or_insert((base, response));
                }
                Ok(response) => {
                    self.servers.use_from_now_on(base);
                    self.servers.learn(base, response.servers());
                    return Ok(response.until(deadline));
                }
                Err(error @ RegistryClientError::Unreachable { .. }) => failures.push(error),
                Err(error) => return Err(error),
            }
        }
        // Old is better than nothing, and all are.
        if let Some((base, response)) = stale {
            self.servers.use_from_now_on(base);
            return Ok(response.until(deadline));
        }
        self.servers.none_responded();
        Err(RegistryClientError::all_unreachable(failures))
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

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

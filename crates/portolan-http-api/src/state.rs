//! The state that the handlers share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use portolan_config_manager::live::ConfigControl;
use portolan_core::{DeclaredInstance, DeclaredState, IpNetwork, Scope};
use portolan_health::LastResults;
use portolan_http::{Authenticator, CredentialSource, Dialect, Standing};
use portolan_metrics::Metrics;
use portolan_registry::Registry;
use tokio::sync::watch;

use crate::encoded_events::EncodedEvents;
use crate::failure_reports::FailureReports;
use crate::sessions::Sessions;
use crate::turns::Turns;
use crate::{errors, openapi, routes};

/// The default interval of bookmarks.
const BOOKMARKS: Duration = Duration::from_secs(5);

/// Portolan's own API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    registry: Registry,
    metrics: Metrics,
    authenticator: Authenticator,
    trusted_proxies: Vec<IpNetwork>,
    network_id: Option<String>,
    open_to_network: bool,
    stack: Option<Scope>,
    declared: Option<watch::Receiver<Vec<DeclaredInstance>>>,
    config: Option<Arc<dyn ConfigControl>>,
    bookmarks: Duration,
    sessions: Option<Sessions>,
    turns: Turns,
    encoded_events: EncodedEvents,
    failure_reports: Option<FailureReports>,
    check_results: LastResults,
    version: String,
    openapi: Bytes,
}

// === impl Api ===

impl Api {
    /// Creates the API of a registry, without a token.
    pub fn new(registry: Registry, metrics: Metrics) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let openapi = openapi::document(&version);
        let authenticator = Authenticator::new(None);
        let trusted_proxies = Vec::new();
        Self(Arc::new(Inner {
            registry,
            metrics,
            authenticator,
            trusted_proxies,
            network_id: None,
            open_to_network: false,
            stack: None,
            declared: None,
            config: None,
            bookmarks: BOOKMARKS,
            sessions: None,
            turns: Turns::new(),
            encoded_events: EncodedEvents::default(),
            failure_reports: None,
            check_results: LastResults::default(),
            version,
            openapi,
        }))
    }

    /// The changes that watches send.
    pub(crate) fn encoded_events(&self) -> &EncodedEvents {
        &self.0.encoded_events
    }

    /// The queue in which long documents are encoded.
    pub(crate) fn turns(&self) -> &Turns {
        &self.0.turns
    }

    /// Sets the token that every route requires (`Authorization: Bearer TOKEN`), except `/healthz`,
    /// `/readyz` and `/openapi.json`. An empty token matches nothing, so it denies all access.
    pub fn token(self, token: Option<&str>) -> Self {
        self.authenticator(Authenticator::new(token))
    }

    /// Sets how clients are identified, by `Authorization: Bearer TOKEN` and what their connections prove. Every route needs
    /// credentials and a right, except those that [`token`](Self::token) names.
    pub fn authenticator(self, authenticator: Authenticator) -> Self {
        let authenticator = authenticator.source(CredentialSource::Bearer);
        self.with(|inner| inner.authenticator = authenticator)
    }

    /// Sets the proxies whose `X-Forwarded-For` names the host of the client. Default: none.
    pub fn trusted_proxies(self, networks: Vec<IpNetwork>) -> Self {
        self.with(|inner| inner.trusted_proxies = networks)
    }

    /// Sets the id of this host's network stack. A client that sends another one is not on this host, even if it
    /// connects on loopback, as through a tunnel. Default: none.
    pub fn network_id(self, id: Option<&str>) -> Self {
        self.with(|inner| inner.network_id = id.map(str::to_owned))
    }

    /// Sets whether other hosts reach the server and need no token, which lists of services say. Default: no.
    pub fn open_to_network(self, open: bool) -> Self {
        self.with(|inner| inner.open_to_network = open)
    }

    /// Sets the scope of the stack of which this is the registry, if only the stack changes its services, which lists of
    /// services say. Default: none.
    pub fn stack(self, scope: Option<Scope>) -> Self {
        self.with(|inner| inner.stack = scope)
    }

    /// Sets the instances that the stack of this registry declares. Lists of services explain with them why
    /// a service is not registered. Default: none.
    pub fn declared(self, declared: Option<watch::Receiver<Vec<DeclaredInstance>>>) -> Self {
        self.with(|inner| inner.declared = declared)
    }

    /// Sets the settings of this process, which administrators can read and change. Default: none.
    pub fn config(self, config: Option<Arc<dyn ConfigControl>>) -> Self {
        self.with(|inner| inner.config = config)
    }

    /// Sets the interval at which a watch gets a bookmark if the registry has changed, but nothing that it watches. Default
    /// 5 s: with the default history, it can resume if there are fewer than 2,000 changes a second.
    pub fn bookmarks(self, interval: Duration) -> Self {
        self.with(|inner| inner.bookmarks = interval)
    }

    /// Sets what holds the sessions of agents. Without it, they are refused with 503.
    pub fn sessions(self, sessions: Sessions) -> Self {
        self.with(|inner| inner.sessions = Some(sessions))
    }

    /// Sets what examines the instances to which callers could not connect. Without it, their reports are refused with 503.
    pub fn failure_reports(self, reports: FailureReports) -> Self {
        self.with(|inner| inner.failure_reports = Some(reports))
    }

    /// Sets where the results of checks are kept: those that agents report, beside those of the registry's own monitor.
    /// Default: those of agents only.
    pub fn check_results(self, results: LastResults) -> Self {
        self.with(|inner| inner.check_results = results)
    }

    /// Sets the version that `/healthz`, `/readyz` and `/openapi.json` report. Default: the version
    /// of this crate.
    pub fn version(self, version: impl Into<String>) -> Self {
        let version = version.into();
        self.with(|inner| {
            inner.openapi = openapi::document(&version);
            inner.version = version;
        })
    }

    /// Returns the API as a dialect to be served with [`portolan_http::serve`], possibly next to
    /// others. It answers every path that no other dialect's prefix matches.
    pub fn dialect(&self) -> Dialect {
        let authenticator = self.0.authenticator.clone();
        Dialect::new(routes::router(self), errors::response)
            .authenticator(authenticator)
            .prepared(self.clone())
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    // --- for the handlers

    pub(crate) fn standing(&self, request: &Parts) -> Option<Standing> {
        self.0.authenticator.standing(request)
    }

    pub(crate) fn settings(&self) -> Option<Arc<dyn ConfigControl>> {
        self.0.config.clone()
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn proxies(&self) -> &[IpNetwork] {
        &self.0.trusted_proxies
    }

    pub(crate) fn is_open_to_network(&self) -> bool {
        self.0.open_to_network
    }

    pub(crate) fn own_stack(&self) -> Option<&Scope> {
        self.0.stack.as_ref()
    }

    /// Returns whether a client with this id may be on this host.
    pub(crate) fn is_own_network(&self, id: &[u8]) -> bool {
        self.0.network_id.as_ref().is_none_or(|own| own.as_bytes() == id)
    }

    /// Whether this is the registry of a stack, which declares instances.
    pub(crate) fn has_declared(&self) -> bool {
        self.0.declared.is_some()
    }

    /// Returns the declared instances that are not ready and match.
    pub(crate) fn not_ready(
        &self,
        matches: impl Fn(&DeclaredInstance) -> bool,
    ) -> Vec<DeclaredInstance> {
        let Some(declared) = &self.0.declared else { return Vec::new() };
        let declared = declared.borrow();
        let is_not_ready = |one: &&DeclaredInstance| one.state != DeclaredState::Ready;
        declared.iter().filter(is_not_ready).filter(|one| matches(one)).cloned().collect()
    }

    pub(crate) fn bookmark_interval(&self) -> Duration {
        self.0.bookmarks
    }

    pub(crate) fn held_sessions(&self) -> Option<&Sessions> {
        self.0.sessions.as_ref()
    }

    pub(crate) fn examined_reports(&self) -> Option<&FailureReports> {
        self.0.failure_reports.as_ref()
    }

    pub(crate) fn last_results(&self) -> &LastResults {
        &self.0.check_results
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn server_version(&self) -> &str {
        &self.0.version
    }

    pub(crate) fn openapi(&self) -> Bytes {
        self.0.openapi.clone()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("version", &self.version).finish_non_exhaustive()
    }
}

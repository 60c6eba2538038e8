//! What a strategy is: one way to find a service, asked once.
//!
//! A strategy never retries, caches or counts: the chain does.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use portolan_broadcast::{BroadcastError, QueryError};
use portolan_core::duration::format_rounded;
use portolan_core::{Scope, ServiceEndpoint, ServiceName};
use serde::{Deserialize, Serialize};

use crate::config::Timeouts;
use crate::deps::Deps;
use crate::reservations::ReservationsError;
use crate::strategies::STRATEGIES;
use crate::strategies::dns::DnsError;
use crate::{InvalidDiscovery, RegistryClientError};

/// The name of one of the strategies, as configuration, flags and metric labels write it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StrategyName(&'static Kind);

/// A text that names no strategy. Retrying does not help: it must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a strategy; use one of {list}", list = StrategyName::list())]
pub struct UnknownStrategy(String);

/// Why a strategy could not be asked, as opposed to its saying no.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StrategyError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryClientError),
    /// The broadcast channel could not be opened.
    #[error(transparent)]
    Channel(#[from] Arc<BroadcastError>),
    /// The broadcast channel could not be asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The name servers.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The host's table of reservations.
    #[error(transparent)]
    Reservations(#[from] ReservationsError),
    /// It took longer than it may.
    #[error("no answer within {}", format_rounded(*.limit))]
    TimedOut {
        /// How long it may take.
        limit: Duration,
    },
}

/// One row of the table of strategies.
pub(crate) struct Kind {
    /// Its name.
    pub(crate) name: &'static str,
    /// How many instances of a service it knows.
    pub(crate) completeness: Completeness,
    /// Whether asking again may help where it could not be asked.
    pub(crate) retries: bool,
    /// How long it may take.
    pub(crate) timeout: fn(&Timeouts) -> Duration,
    /// Makes it.
    pub(crate) build: fn(&Deps) -> Result<Arc<dyn Strategy>, InvalidDiscovery>,
}

/// How many instances of a service a strategy knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completeness {
    /// One at the most.
    One,
    /// All of them, but it tells of some where one is enough.
    AllOnRequest,
    /// All of them, always.
    All,
}

/// One way to find a service.
pub(crate) trait Strategy: Send + Sync {
    /// Asks once.
    fn ask<'a>(&'a self, query: &'a StrategyQuery) -> BoxFuture<'a, StrategyOutcome>;
}

/// What a strategy is asked.
#[derive(Debug, Clone)]
pub(crate) struct StrategyQuery {
    /// The service.
    pub(crate) name: ServiceName,
    /// The scopes to look in: the first in which it is found counts.
    pub(crate) scopes: Vec<Scope>,
    /// Whether every instance is requested.
    pub(crate) all: bool,
    /// How long the answer may take; after that it is not waited for.
    pub(crate) limit: Duration,
}

/// What a strategy answers.
#[derive(Debug)]
pub(crate) enum StrategyOutcome {
    /// At least one instance, all of the same scope.
    Found(Vec<Candidate>),
    /// There is none, as far as this strategy can know.
    NotFound {
        /// What it looked at.
        reason: String,
        /// Whether it would know of an instance if there were one.
        sure: bool,
    },
    /// There is nothing that it could ask.
    Skip(String),
    /// It could not ask.
    Failed(StrategyError),
}

/// An instance that may be chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    /// The instance.
    pub(crate) endpoint: Arc<ServiceEndpoint>,
    /// Lower goes first (RFC 2782).
    pub(crate) priority: u16,
    /// How often it is chosen among equals (RFC 2782).
    pub(crate) weight: u16,
}

// === impl StrategyName ===

impl StrategyName {
    /// Every strategy, in the order in which they are asked unless told otherwise.
    pub fn all() -> impl Iterator<Item = Self> {
        STRATEGIES.into_iter().map(Self)
    }

    /// The name as it is written.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Every name, for a person to choose from.
    pub(crate) fn list() -> String {
        Self::all().map(Self::as_str).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn kind(self) -> &'static Kind {
        self.0
    }
}

impl PartialEq for StrategyName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for StrategyName {}

impl std::hash::Hash for StrategyName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl FromStr for StrategyName {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        Self::all()
            .find(|strategy| strategy.as_str() == text)
            .ok_or_else(|| UnknownStrategy(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for StrategyName {
    type Error = UnknownStrategy;
    fn try_from(text: String) -> Result<Self, UnknownStrategy> {
        text.parse()
    }
}

impl From<StrategyName> for String {
    fn from(name: StrategyName) -> String {
        name.as_str().to_owned()
    }
}

impl AsRef<str> for StrategyName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for StrategyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for StrategyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

// === impl StrategyError ===

impl StrategyError {
    /// Whether asking again a moment later may help.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_temporary())
    }
}

// === impl StrategyOutcome ===

impl StrategyOutcome {
    /// The instances of the first scope in which there is one.
    pub(crate) fn found_in(
        scopes: &[Scope],
        endpoints: Vec<ServiceEndpoint>,
    ) -> Option<Vec<Candidate>> {
        let scope = scopes.iter().find(|scope| endpoints.iter().any(|e| e.scope == **scope))?;
        let within = endpoints.into_iter().filter(|endpoint| endpoint.scope == *scope);
        Some(within.map(Candidate::from).collect())
    }
}

// === impl Candidate ===

impl Candidate {
    pub(crate) fn of(endpoint: &Arc<ServiceEndpoint>) -> Self {
        Self { endpoint: Arc::clone(endpoint), priority: 0, weight: 1 }
    }
}

impl From<ServiceEndpoint> for Candidate {
    fn from(endpoint: ServiceEndpoint) -> Self {
        Self { endpoint: Arc::new(endpoint), priority: 0, weight: 1 }
    }
}

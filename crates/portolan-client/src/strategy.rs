//! The extension point for discovery strategies: one way to find a service, asked once.
//!
//! A strategy neither retries nor caches nor counts; the chain does that for every strategy alike.
//! [`DiscoveryClientBuilder::strategy`](crate::DiscoveryClientBuilder::strategy) adds one to a
//! client:
//!
//! ```
//! use std::net::Ipv4Addr;
//!
//! use portolan_client::strategy::{
//!     Position, Strategy, StrategyFuture, StrategyKind, StrategyOutcome, StrategyQuery,
//! };
//! use portolan_client::DiscoveryClient;
//!
//! /// Finds every service on one port of the loopback address.
//! struct OnePort(u16);
//!
//! impl Strategy for OnePort {
//!     fn kind(&self) -> StrategyKind {
//!         StrategyKind::new("one-port")
//!     }
//!
//!     fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
//!         Box::pin(async move { query.found_at(Ipv4Addr::LOCALHOST.into(), self.0) })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client: DiscoveryClient =
//!     DiscoveryClient::builder().strategy(Position::First, OnePort(8080)).build()?;
//! let endpoint = client.discover("anything").await?;
//! assert_eq!((endpoint.strategy.as_str(), endpoint.port), ("one-port", 8080));
//! # Ok(()) }
//! ```

mod error;

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::{Host, Registration, Scope, ServiceEndpoint, ServiceName, Ttl};

use crate::deadline::Deadline;
pub use crate::proof::Proof;
pub use crate::trust::Trust;

pub use error::StrategyError;

/// One way to find a service.
pub trait Strategy: Send + Sync {
    /// Returns the strategy's properties. They must not change while the client lives.
    fn kind(&self) -> StrategyKind;

    /// Asks once. The future is dropped at the strategy's timeout, a little after
    /// [`StrategyQuery::deadline`], and when every caller stopped waiting.
    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a>;
}

/// What [`Strategy::find`] returns: `Box::pin(async move { … })` makes one.
pub type StrategyFuture<'a> = Pin<Box<dyn Future<Output = StrategyOutcome> + Send + 'a>>;

/// The properties of a strategy: what the client does with it and with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrategyKind {
    /// The name in the configuration, in flags, in metric labels and in explanations.
    pub name: &'static str,
    /// Whether its endpoints are configured by an operator: it is asked before the others, unless the
    /// caller names the strategies.
    pub configured: bool,
    /// How many instances of a service the strategy knows.
    pub completeness: Completeness,
    /// Which change feed keeps a cached result of the strategy current.
    pub feed: ChangeFeed,
    /// Whether the client asks again after a temporary error, within the timeout.
    pub retries: bool,
    /// How long one lookup may take, retries included; `None` means as long as the whole lookup.
    pub timeout: Option<Duration>,
    /// The key below `discovery.timeouts` that overrides the timeout. Only strategies of the table
    /// have one: the settings are checked against the table.
    pub timeout_key: Option<&'static str>,
}

/// How many instances of a service a strategy knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// At most one. Asked last when every instance is requested.
    One,
    /// All of them, but one answer is enough unless [`StrategyQuery::all`] is set.
    AllOnRequest,
    /// Always all of them.
    All,
}

/// The feed of changes that keeps a cached result current until its TTL ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeFeed {
    /// None: changes of known instances are applied, new instances are not added.
    None,
    /// The registry's watch, which is ordered and complete. Its snapshot replaces the result, and
    /// announcements do not change it.
    Ordered,
    /// The announcements on the broadcast channel, in any order and with gaps.
    Announced,
}

/// Where a strategy is inserted into the configured order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Position {
    /// Before every other strategy.
    First,
    /// After every other strategy.
    Last,
    /// Directly before the strategy of this name.
    Before(String),
    /// Directly after the strategy of this name.
    After(String),
}

/// What a strategy is asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StrategyQuery {
    /// The service.
    pub name: ServiceName,
    /// The scopes to look in, never empty. Only the first scope with an instance counts.
    pub scopes: Vec<Scope>,
    /// Whether every instance is requested, not only one.
    pub all: bool,
    /// When the answer is due.
    pub deadline: Deadline,
}

/// What a strategy answers.
#[derive(Debug)]
#[non_exhaustive]
pub enum StrategyOutcome {
    /// At least one instance, all of the same scope.
    Found(Vec<Candidate>),
    /// No instance, as far as the strategy can know.
    NotFound {
        /// What was looked at, for a person to read.
        reason: String,
        /// Whether the strategy would know of an instance if there were one.
        authoritative: bool,
    },
    /// The service is known in this scope, and none of its instances can be used now. No further strategy is
    /// asked: what it found would be another service of the same name, or an address at which nobody listens.
    NotReady {
        /// The scope.
        scope: Scope,
        /// The state of the service and its reason, for a person to read.
        reason: String,
        /// What resolves it, as an imperative without a full stop.
        remedy: String,
    },
    /// There is nothing to ask, for this reason.
    Skipped(String),
    /// Asking failed.
    Failed(StrategyError),
}

/// An instance that the client may choose.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The instance.
    pub endpoint: Arc<ServiceEndpoint>,
    /// The priority, lowest first (RFC 2782). Default 0.
    pub priority: u16,
    /// The relative frequency among candidates of the same priority (RFC 2782). Default 1.
    pub weight: u16,
    /// How well the instance is proven to belong to the service. Default [`Proof::Registered`], or
    /// [`Proof::Announced`] if the registry learned of it by broadcast.
    pub proof: Proof,
    /// Who could have made the answer. The client sets it.
    pub trust: Trust,
}

// === impl StrategyKind ===

impl StrategyKind {
    /// Returns a strategy of this name that knows every instance, has no feed, is not retried and
    /// may take as long as the whole lookup.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            configured: false,
            completeness: Completeness::All,
            feed: ChangeFeed::None,
            retries: false,
            timeout: None,
            timeout_key: None,
        }
    }
}

// === impl StrategyQuery ===

impl StrategyQuery {
    /// Returns a query for one instance in the default scope, for tests of a strategy.
    pub fn new(name: ServiceName, deadline: Deadline) -> Self {
        Self { name, scopes: vec![Scope::default()], all: false, deadline }
    }

    /// Returns the outcome for an instance at this address, in the first scope.
    pub fn found_at(&self, address: IpAddr, port: u16) -> StrategyOutcome {
        match Host::try_from(address) {
            Ok(host) => {
                let mut registration = Registration::new(self.name.clone(), host, port);
                registration.scope = self.scopes[0].clone();
                let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::now());
                StrategyOutcome::Found(vec![endpoint.into()])
            }
            Err(error) => StrategyOutcome::Failed(StrategyError::new(error)),
        }
    }
}

// === impl StrategyOutcome ===

impl StrategyOutcome {
    /// Returns the instances of the first scope that has any, or `None` without such a scope.
    pub fn found_in(scopes: &[Scope], endpoints: Vec<ServiceEndpoint>) -> Option<Self> {
        let scope = scopes.iter().find(|scope| endpoints.iter().any(|e| e.scope == **scope))?;
        let within = endpoints.into_iter().filter(|endpoint| endpoint.scope == *scope);
        Some(Self::Found(within.map(Candidate::from).collect()))
    }

    /// Sets the proof of the instances that were found.
    #[must_use]
    pub fn proven_by(mut self, proof: Proof) -> Self {
        if let Self::Found(candidates) = &mut self {
            candidates.iter_mut().for_each(|candidate| candidate.proof = proof);
        }
        self
    }
}

// === impl Candidate ===

impl From<ServiceEndpoint> for Candidate {
    fn from(endpoint: ServiceEndpoint) -> Self {
        Arc::new(endpoint).into()
    }
}

impl From<Arc<ServiceEndpoint>> for Candidate {
    fn from(endpoint: Arc<ServiceEndpoint>) -> Self {
        let proof = Proof::of_registry(endpoint.source);
        Self { endpoint, priority: 0, weight: 1, proof, trust: Trust::Local }
    }
}

// === impl Strategy ===

impl fmt::Debug for dyn Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Strategy").field(&self.kind().name).finish()
    }
}

//! The result of a lookup, with or without the attempts that led to it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use portolan_core::name::InvalidName;
use portolan_core::{ServiceEndpoint, ServiceName};

use crate::attempt::Attempt;
use crate::chain::Resolution;
use crate::error::DiscoverError;
use crate::proof::Proof;
use crate::strategy::Candidate;
use crate::strategy_name::StrategyName;
use crate::trust::Trust;

/// An instance that was found. It dereferences to its [`ServiceEndpoint`].
#[derive(Debug, Clone, PartialEq)]
pub struct Discovered {
    /// The instance, shared with the cache.
    pub endpoint: Arc<ServiceEndpoint>,
    /// The strategy that found it.
    pub strategy: StrategyName,
    /// How well the instance is proven to belong to the service.
    pub proof: Proof,
    /// Who could have made the answer.
    pub trust: Trust,
    /// Whether it comes from a cache entry older than the TTL, because no strategy that might know
    /// better could be asked.
    pub stale: bool,
}

/// The result of a lookup and the outcome of each strategy. `T` is the instance, or the list of all.
#[derive(Debug, Clone)]
pub struct Explanation<T = Discovered> {
    /// The service; `None` if the name is not valid.
    pub name: Option<ServiceName>,
    /// Every strategy in order, including those that were not asked.
    pub attempts: Vec<Attempt>,
    /// The result.
    pub result: Result<T, DiscoverError>,
}

// === impl Discovered ===

impl Discovered {
    pub(crate) fn new(resolution: &Resolution, selected: &Candidate, stale: bool) -> Self {
        let strategy = resolution.strategy_of(selected);
        let (endpoint, proof, trust) =
            (Arc::clone(&selected.endpoint), selected.proof, selected.trust);
        Self { endpoint, strategy, proof, trust, stale }
    }
}

impl Deref for Discovered {
    type Target = ServiceEndpoint;
    fn deref(&self) -> &ServiceEndpoint {
        &self.endpoint
    }
}

impl From<Discovered> for ServiceEndpoint {
    fn from(discovered: Discovered) -> Self {
        Arc::unwrap_or_clone(discovered.endpoint)
    }
}

// === impl Explanation ===

impl<T> Explanation<T> {
    pub(crate) fn invalid_name(error: InvalidName) -> Self {
        let result = Err(DiscoverError::InvalidName(error));
        Self { name: None, attempts: Vec::new(), result }
    }

    /// Writes the attempts, one per line.
    fn write_attempts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.attempts.iter().try_for_each(|attempt| write!(f, "\n  {attempt}"))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Err(error) => error.fmt(f),
            Ok(discovered) => {
                let Discovered { strategy, proof, trust, .. } = discovered;
                let (name, address) = (&discovered.name, discovered.address());
                write!(f, "{name} is at {address} ({strategy}: {proof}, {trust})")?;
                self.write_attempts(f)
            }
        }
    }
}

impl fmt::Display for Explanation<Vec<ServiceEndpoint>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.result, &self.name) {
            (Err(error), _) => error.fmt(f),
            (Ok(found), Some(name)) => {
                let addresses: Vec<String> = found.iter().map(ServiceEndpoint::address).collect();
                write!(f, "{name} is at {}", addresses.join(", "))?;
                self.write_attempts(f)
            }
            (Ok(_), None) => self.write_attempts(f),
        }
    }
}

//! The result of a lookup, with or without the attempts that led to it.

use std::fmt;
use std::ops::Deref;

use portolan_core::{ServiceEndpoint, ServiceName};

use crate::attempt::Attempt;
use crate::error::DiscoverError;
use crate::proof::Proof;
use crate::strategy_name::StrategyName;

/// An instance that was found. It dereferences to its [`ServiceEndpoint`].
#[derive(Debug, Clone, PartialEq)]
pub struct Discovered {
    /// The instance.
    pub endpoint: ServiceEndpoint,
    /// The strategy that found it.
    pub strategy: StrategyName,
    /// How well the instance is proven to belong to the service.
    pub proof: Proof,
    /// Whether it comes from a cache entry older than the TTL, because no strategy that might know
    /// better could be asked.
    pub stale: bool,
}

/// The result of a lookup and the outcome of each strategy.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The service; `None` if the name is not valid.
    pub name: Option<ServiceName>,
    /// Every strategy in order, including those that were not asked.
    pub attempts: Vec<Attempt>,
    /// The result.
    pub result: Result<Discovered, DiscoverError>,
}

// === impl Discovered ===

impl Deref for Discovered {
    type Target = ServiceEndpoint;
    fn deref(&self) -> &ServiceEndpoint {
        &self.endpoint
    }
}

impl From<Discovered> for ServiceEndpoint {
    fn from(discovered: Discovered) -> Self {
        discovered.endpoint
    }
}

// === impl Explanation ===

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Err(error) => error.fmt(f),
            Ok(discovered) => {
                let Discovered { strategy, proof, .. } = discovered;
                let (name, address) = (&discovered.name, discovered.address());
                write!(f, "{name} is at {address} ({strategy}: {proof})")?;
                self.attempts.iter().try_for_each(|attempt| write!(f, "\n  {attempt}"))
            }
        }
    }
}

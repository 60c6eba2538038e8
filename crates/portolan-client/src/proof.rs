//! The proof that an instance belongs to the requested service. A stronger proof decides before the
//! order of the strategies.

use std::fmt;

use portolan_core::Source;

/// How well an instance is proven to belong to the requested service, strongest first.
///
/// A health status that is known from any strategy counts for the instance, whatever its proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Proof {
    /// An operator configured the endpoint for this service.
    Configured,
    /// The service holds the lease on the port on this host.
    Leased,
    /// The registry of the service's stack has started it. It knows every instance in its scope, so that what is announced there
    /// besides does not count.
    OfStack,
    /// The registry, or a strategy that is as authoritative, has the instance.
    Registered,
    /// The instance was announced on the broadcast channel.
    Announced,
    /// A DNS record has the service's name.
    Resolved,
    /// A server of the expected kind listens on the well-known port. That does not say which service
    /// it is, so the instance counts only if every other strategy was asked and found none.
    WellKnownPort,
}

// === impl Proof ===

impl Proof {
    /// Returns the proof of an instance that the registry knows from this source: what it learned by
    /// broadcast is as weak as an announcement that arrives here.
    pub(crate) fn of_registry(source: Source) -> Self {
        match source {
            Source::Registered | Source::Consul => Self::Registered,
            Source::Broadcast => Self::Announced,
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configured => "configured endpoint",
            Self::Leased => "lease on this host",
            Self::OfStack => "started by its stack",
            Self::Registered => "registered",
            Self::Announced => "announced",
            Self::Resolved => "DNS record",
            Self::WellKnownPort => "well-known port only",
        })
    }
}

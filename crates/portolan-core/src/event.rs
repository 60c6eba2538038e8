//! What happens to services: changes, each with a revision.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ServiceEndpoint;

/// A number that grows with every change of the registry and never falls, over restarts too,
/// unless the clock of its machine is set back between them: then a watch that resumes from before
/// gets a snapshot and goes on at the lower numbers, so a reader takes a snapshot's revision as it
/// comes.
///
/// It stays below 2^53, so that every JSON reader keeps it exact.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// One change, and the revision that it made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceEvent {
    /// The revision that the change made; a watch resumes from here. 0 where the change was
    /// heard by broadcast, which has no order to resume from.
    pub revision: Revision,
    /// What happened.
    #[serde(flatten)]
    pub change: Change,
}

/// What happened to an instance, or the whole state where there is no telling change by change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Change {
    /// Everything there is now; forget what you knew. The first thing a watch sees, and what it
    /// sees again where the history it asked for is no longer kept.
    Snapshot {
        /// Every instance that the watch asks about.
        endpoints: Vec<Arc<ServiceEndpoint>>,
    },
    /// A new instance.
    Registered {
        /// The instance.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// An instance registered again with other contents.
    Updated {
        /// The instance as it is now.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// Its health is another one.
    Health {
        /// The instance as it is now.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// It went by itself.
    Deregistered {
        /// The instance as it was.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// It gave no sign of life for as long as its TTL.
    Expired {
        /// The instance as it was.
        endpoint: Arc<ServiceEndpoint>,
    },
}

// === impl Change ===

impl Change {
    /// The kind of change, as JSON and event streams name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Snapshot { .. } => "snapshot",
            Self::Registered { .. } => "registered",
            Self::Updated { .. } => "updated",
            Self::Health { .. } => "health",
            Self::Deregistered { .. } => "deregistered",
            Self::Expired { .. } => "expired",
        }
    }

    /// The instance that changed; none for a snapshot.
    pub fn endpoint(&self) -> Option<&Arc<ServiceEndpoint>> {
        match self {
            Self::Snapshot { .. } => None,
            Self::Registered { endpoint }
            | Self::Updated { endpoint }
            | Self::Health { endpoint }
            | Self::Deregistered { endpoint }
            | Self::Expired { endpoint } => Some(endpoint),
        }
    }

    /// Whether the instance is gone after this.
    pub fn is_removal(&self) -> bool {
        matches!(self, Self::Deregistered { .. } | Self::Expired { .. })
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! Events of the registry: changes with revisions.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ServiceEndpoint;

/// The revision of the registry, which grows with each change, also across restarts.
///
/// If the clock of the server is set back between two runs, revisions start lower. A watch that
/// resumes from a higher revision then receives a snapshot, so a reader must adopt the revision of
/// each snapshot.
///
/// Revisions stay below 2^53, which JSON readers represent exactly.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// A change with its revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceEvent {
    /// The revision of the change, from which a watch can resume. 0 if the change was learned by
    /// broadcast, which has no order.
    pub revision: Revision,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
}

/// A change of an instance, or a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Change {
    /// The complete state, which replaces everything received before. A watch starts with it, and
    /// receives it again if the requested history is no longer available.
    Snapshot {
        /// Every instance that matches the watch.
        endpoints: Vec<Arc<ServiceEndpoint>>,
        /// Whether the registry has just started without its former state, so that instances may be
        /// missing that have not registered again yet.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        incomplete: bool,
    },
    /// An instance was registered.
    Registered {
        /// The instance.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// An instance was registered again with different contents.
    Updated {
        /// The new state.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// The health status has changed.
    Health {
        /// The new state.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// An instance was deregistered.
    Deregistered {
        /// The last state.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// A registration expired, because its TTL elapsed without a heartbeat.
    Expired {
        /// The last state.
        endpoint: Arc<ServiceEndpoint>,
    },
}

// === impl Change ===

impl Change {
    /// Returns the name of the change in JSON and event streams.
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

    /// Returns the instance that has changed; `None` for a snapshot.
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

    /// Returns whether the change removes the instance.
    pub fn is_removal(&self) -> bool {
        matches!(self, Self::Deregistered { .. } | Self::Expired { .. })
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

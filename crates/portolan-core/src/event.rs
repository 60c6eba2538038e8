//! Events of the registry: changes with revisions.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ServiceEndpoint;

/// The revision of a change in the registry: a number that grows with every change, over restarts
/// too.
///
/// If the server's clock was set back across a restart, revisions fall: a watch that resumes from an
/// earlier one then gets a snapshot and continues from that snapshot's lower revision.
///
/// A revision stays below 2^53, so that JSON readers represent it exactly.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// A change, with its revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceEvent {
    /// The revision from which a watch can resume after this event. 0 if the change was learned by
    /// broadcast, which has no revisions.
    pub revision: Revision,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
}

/// A change of one instance, or a snapshot of the whole state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Change {
    /// The whole state, which replaces all earlier events. The first event of a watch, and sent again
    /// if the requested history is no longer available.
    Snapshot {
        /// Every instance that matches the watch.
        endpoints: Vec<Arc<ServiceEndpoint>>,
    },
    /// An instance was registered.
    Registered {
        /// The instance.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// An instance was registered again with different contents.
    Updated {
        /// The instance after the change.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// The health status changed.
    Health {
        /// The instance after the change.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// The instance was deregistered.
    Deregistered {
        /// The instance before the change.
        endpoint: Arc<ServiceEndpoint>,
    },
    /// The TTL passed without a heartbeat.
    Expired {
        /// The instance before the change.
        endpoint: Arc<ServiceEndpoint>,
    },
}

// === impl Change ===

impl Change {
    /// Returns the name of the change in JSON and in event streams.
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

    /// Returns the instance that changed; `None` for a snapshot.
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

    /// Whether the change removes the instance.
    pub fn is_removal(&self) -> bool {
        matches!(self, Self::Deregistered { .. } | Self::Expired { .. })
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! The status of the instances of a stack.

use std::collections::BTreeMap;

use portolan_core::{HealthStatus, ServiceName};
use serde::Serialize;

/// The status of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceStatus {
    /// The service.
    pub service: ServiceName,
    /// The number of the instance within its service, counted from 1.
    pub instance: u16,
    /// The preferred port; `None` if the service has no port or no preference.
    pub wanted: Option<u16>,
    /// The leased port.
    pub got: Option<u16>,
    /// The lifecycle state.
    pub state: InstanceState,
    /// The health status.
    pub health: HealthStatus,
    /// The needs with the address of each, which is empty if the need is not found yet.
    pub found: BTreeMap<ServiceName, String>,
    /// The process id.
    pub pid: Option<u32>,
}

/// The lifecycle state of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum InstanceState {
    /// It waits for its needs.
    Waiting,
    /// The program runs.
    Running,
    /// The program is being stopped.
    Stopping,
    /// The program has exited.
    Exited {
        /// The exit status in the form that shells report.
        code: u8,
    },
    /// The instance could not be started or supervised.
    Failed {
        /// The error.
        reason: String,
    },
}

// === impl InstanceStatus ===

impl InstanceStatus {
    /// Creates the status of an instance that has not been started.
    pub(super) fn new(service: &ServiceName, instance: u16, wanted: Option<u16>) -> Self {
        Self {
            service: service.clone(),
            instance,
            wanted,
            got: None,
            state: InstanceState::Waiting,
            health: HealthStatus::Unknown,
            found: BTreeMap::new(),
            pid: None,
        }
    }
}

// === impl InstanceState ===

impl InstanceState {
    /// Returns whether the state is terminal.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Exited { .. } | Self::Failed { .. })
    }

    /// Returns whether the instance failed.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Exited { code } => *code != 0,
            Self::Failed { .. } => true,
            _ => false,
        }
    }
}

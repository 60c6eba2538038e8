//! What is seen of a stack while it runs: one row an instance.

use std::collections::BTreeMap;

use portolan_core::{HealthStatus, ServiceName};
use serde::Serialize;

/// One instance, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The service.
    pub service: ServiceName,
    /// Counts the instances of one service, from 1.
    pub instance: u16,
    /// The port it wanted; none where it listens nowhere.
    pub wanted: Option<u16>,
    /// The port it got.
    pub got: Option<u16>,
    /// How far it is.
    pub state: State,
    /// How well it is.
    pub health: HealthStatus,
    /// What it needs, and where that is found; empty text where it is not found yet.
    pub found: BTreeMap<ServiceName, String>,
    /// Its process.
    pub pid: Option<u32>,
}

/// How far an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum State {
    /// It waits for what it needs.
    Waiting,
    /// Its program runs.
    Running,
    /// It is being taken down.
    Stopping,
    /// Its program has ended.
    Exited {
        /// The status that a shell reports.
        code: u8,
    },
    /// It could not be started.
    Failed {
        /// Why.
        reason: String,
    },
}

// === impl Row ===

impl Row {
    /// An instance that was not started yet.
    pub(super) fn new(service: &ServiceName, instance: u16, wanted: Option<u16>) -> Self {
        Self {
            service: service.clone(),
            instance,
            wanted,
            got: None,
            state: State::Waiting,
            health: HealthStatus::Unknown,
            found: BTreeMap::new(),
            pid: None,
        }
    }
}

// === impl State ===

impl State {
    /// Whether nothing will happen to the instance any more.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Exited { .. } | Self::Failed { .. })
    }

    /// Whether it ended otherwise than well.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Exited { code } => *code != 0,
            Self::Failed { .. } => true,
            _ => false,
        }
    }
}

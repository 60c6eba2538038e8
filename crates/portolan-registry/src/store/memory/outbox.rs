//! What the state has changed and the journal has not stored yet.

use std::sync::Arc;

use portolan_core::{HealthReport, ServiceEndpoint, ServiceId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::journal::record::Record;
use crate::RegistryError;
use crate::store::owner::Owner;

/// Tells a caller that everything up to its command is on the disk, or why it is not.
pub(super) type Ack = oneshot::Sender<Result<(), RegistryError>>;

/// Whether and how changes are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Durability {
    /// There is no data directory: every change is final at once.
    #[default]
    None,
    /// A change is final once the journal has it.
    Journal,
    /// The journal cannot be written. Registrations and deregistrations are rejected; health, heartbeats and the end
    /// of leases are final at once, and the next snapshot stores them.
    ReadOnly {
        /// Why.
        reason: Arc<str>,
        /// Whether a snapshot is being written, so that what changes meanwhile belongs to the journal after it.
        recording: bool,
    },
}

/// Records for the journal, and what it takes to undo them.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) durability: Durability,
    pub(super) pending: Pending,
    /// Whether the store is being closed.
    pub(super) closed: bool,
}

/// What goes to the journal together.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) records: Vec<Record>,
    pub(super) undo: Vec<Undo>,
    pub(super) acks: Vec<Ack>,
}

/// What is pending, up to an index.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) records: Vec<Record>,
    pub(super) undo: Vec<Undo>,
    pub(super) acks: Vec<Ack>,
    pub(super) index: u64,
}

/// An instance as it was before a change.
#[derive(Debug)]
pub(super) struct Undo {
    pub(super) id: ServiceId,
    /// `None` if there was none.
    pub(super) previous: Option<Detached>,
}

/// An instance in the state, apart from its timer.
#[derive(Debug, Clone)]
pub(super) struct Detached {
    pub(super) endpoint: Arc<ServiceEndpoint>,
    pub(super) owner: Owner,
    pub(super) ends: Instant,
    pub(super) extended: bool,
    pub(super) kept: Option<HealthReport>,
    pub(super) protected: bool,
}

// === impl Outbox ===

impl Outbox {
    /// Whether changes are final as soon as they are made.
    pub(super) fn is_final_at_once(&self) -> bool {
        self.durability != Durability::Journal
    }

    /// Why writes are rejected, if they are.
    pub(super) fn read_only(&self) -> Option<Arc<str>> {
        match &self.durability {
            Durability::ReadOnly { reason, .. } => Some(Arc::clone(reason)),
            Durability::None | Durability::Journal => None,
        }
    }

    /// The error of a command that cannot be stored at the moment.
    pub(super) fn check_writable(&self) -> Result<(), RegistryError> {
        match &self.durability {
            Durability::ReadOnly { reason, .. } => {
                Err(RegistryError::ReadOnly { reason: reason.to_string() })
            }
            Durability::None | Durability::Journal => Ok(()),
        }
    }

    pub(super) fn push(&mut self, record: impl FnOnce() -> Record) {
        if matches!(
            self.durability,
            Durability::Journal | Durability::ReadOnly { recording: true, .. }
        ) {
            self.pending.records.push(record());
        }
    }

    pub(super) fn push_undo(&mut self, undo: impl FnOnce() -> Undo) {
        if self.durability == Durability::Journal {
            self.pending.undo.push(undo());
        }
    }

    /// Whether the writer has something to do.
    pub(super) fn has_work(&self) -> bool {
        let Pending { records, acks, .. } = &self.pending;
        self.durability == Durability::Journal && (!records.is_empty() || !acks.is_empty())
    }

    pub(super) fn take(&mut self, index: u64) -> Batch {
        let Pending { records, undo, acks } = std::mem::take(&mut self.pending);
        Batch { records, undo, acks, index }
    }
}

// === impl Batch ===

impl Batch {
    /// Whether it must be on the disk before it is final.
    pub(crate) fn needs_sync(&self) -> bool {
        self.records.iter().any(Record::needs_sync)
    }
}

//! An instance with everything that every store keeps of it, as an export has it.

use portolan_core::{
    HealthReport, HealthStatus, InvalidRegistration, Registration, ServiceEndpoint,
};
use serde::{Deserialize, Serialize};

use super::owner::Owner;
use crate::CommandOrigin;

/// An instance and its owner. [`Command::Restore`](crate::Command::Restore) puts it into a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreRecord {
    pub(crate) endpoint: ServiceEndpoint,
    pub(crate) owner: Owner,
}

// === impl StoreRecord ===

impl StoreRecord {
    /// The instance.
    pub fn endpoint(&self) -> &ServiceEndpoint {
        &self.endpoint
    }

    /// The instance as of now, of which nothing was heard since it was exported.
    #[must_use]
    pub(crate) fn not_heard_of(mut self, reason: String) -> Self {
        let report = HealthReport::new(HealthStatus::Unknown, reason);
        (self.endpoint.health, self.endpoint.health_reason) = (report.status, report.reason);
        self
    }

    /// Where the registration came from.
    pub(crate) fn origin(&self) -> CommandOrigin {
        CommandOrigin::of(self.endpoint.source, self.owner.peer)
    }

    /// Checks what the types do not express: the record may come from a file that anything has written.
    pub(crate) fn validate(&self) -> Result<(), InvalidRegistration> {
        Registration::from(self.endpoint.clone()).validate()
    }
}

//! What a monitor tells.

use portolan_core::{HealthReport, ServiceId};

/// What a [`HealthMonitor`](crate::HealthMonitor) tells of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthEvent {
    /// Its health has changed, or is unknown for a reason that was not told yet.
    Changed {
        /// The instance.
        id: ServiceId,
        /// The health, and the report that decided it.
        report: HealthReport,
    },
    /// It has been critical for `deregister_critical_after` and is to be removed. It is still checked, and a change is told.
    Overdue {
        /// The instance.
        id: ServiceId,
    },
}

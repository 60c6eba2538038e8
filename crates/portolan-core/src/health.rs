//! Health status.

use serde::{Deserialize, Serialize};

use crate::text_enum;

/// The health status of an instance. The variants are ordered from best to worst, which is the
/// order of preference.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// The last checks succeeded.
    Passing,
    /// The last check reported a degraded service.
    Warning,
    /// There is no result yet.
    #[default]
    Unknown,
    /// The last checks failed. Such an instance is only discovered if there is no better one.
    Critical,
}

/// A health status with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthReport {
    /// The status.
    pub status: HealthStatus,
    /// The reason as text; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Why text is not a health status. Permanent: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a health status, expected passing, warning, critical or unknown")]
pub struct InvalidHealthStatus(String);

text_enum! {
    HealthStatus, InvalidHealthStatus,
    Passing => "passing",
    Warning => "warning",
    Unknown => "unknown",
    Critical => "critical",
}

// === impl HealthReport ===

impl HealthReport {
    /// Creates a report.
    pub fn new(status: HealthStatus, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { status, reason }
    }
}

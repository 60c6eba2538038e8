//! Health status.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

// === impl HealthStatus ===

impl HealthStatus {
    /// Every status, from best to worst.
    pub const ALL: [Self; 4] = [Self::Passing, Self::Warning, Self::Unknown, Self::Critical];

    /// Returns the status as written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for HealthStatus {
    type Err = InvalidHealthStatus;

    fn from_str(text: &str) -> Result<Self, InvalidHealthStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| InvalidHealthStatus(crate::quoted(text)))
    }
}

// === impl HealthReport ===

impl HealthReport {
    /// Creates a report.
    pub fn new(status: HealthStatus, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { status, reason }
    }
}

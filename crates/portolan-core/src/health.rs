//! How well an instance is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How well an instance is, best first: the order of the variants is the order of preference.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// The last checks succeeded.
    Passing,
    /// It answers, and says that it is not well.
    Warning,
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// The last checks failed. Never discovered while a better instance exists.
    Critical,
}

/// A status and what led to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthReport {
    /// The status.
    pub status: HealthStatus,
    /// Why, for a person to read; empty where there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A text that is none of the four statuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a health status; use passing, warning, critical or unknown")]
pub struct InvalidHealthStatus(String);

// === impl HealthStatus ===

impl HealthStatus {
    /// Every status, best first.
    pub const ALL: [Self; 4] = [Self::Passing, Self::Warning, Self::Unknown, Self::Critical];

    /// The status as it is written.
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
            .ok_or_else(|| InvalidHealthStatus(text.chars().take(40).collect()))
    }
}

// === impl HealthReport ===

impl HealthReport {
    /// A status with its reason.
    pub fn new(status: HealthStatus, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { status, reason }
    }
}

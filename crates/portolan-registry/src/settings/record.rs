//! What a store keeps of the settings of a service.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use portolan_core::{Scope, ServiceName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Names the settings: those of a service in a scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SettingsKey {
    /// The scope.
    pub scope: Scope,
    /// The name of the service.
    pub name: ServiceName,
}

/// The settings of a service with their earlier versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingsRecord {
    /// Whose settings they are.
    #[serde(flatten)]
    pub key: SettingsKey,
    /// The JSON Schema that every new value must meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// The versions that are kept, the newest last.
    pub versions: Vec<Arc<SettingsEntry>>,
}

/// A version of the settings of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingsEntry {
    /// Its number: 1 for the first one, and one more with each change.
    pub version: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// The identity that stored it; `anyone` if the registry requires none.
    pub author: String,
    /// How it was made.
    pub action: SettingsAction,
    /// The version whose value it has again, after a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The settings, a JSON object; `None` if they were deleted, or there is only a schema yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// How a version was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingsAction {
    /// The settings were replaced as a whole.
    Set,
    /// Some members were changed.
    Patch,
    /// The settings were deleted.
    Delete,
    /// An earlier version was restored.
    Rollback,
    /// The schema was changed; the value is that of the version before.
    Schema,
}

// === impl SettingsRecord ===

impl SettingsRecord {
    /// The newest version.
    pub fn newest(&self) -> Option<&Arc<SettingsEntry>> {
        self.versions.last()
    }

    /// The number of the newest version.
    pub fn version(&self) -> u64 {
        self.newest().map_or(0, |entry| entry.version)
    }

    /// The settings in force; `None` if they were deleted, or there is only a schema yet.
    pub fn value(&self) -> Option<&Value> {
        self.newest()?.value.as_ref()
    }

    /// A version, if it is kept.
    pub fn entry(&self, version: u64) -> Option<&Arc<SettingsEntry>> {
        self.versions.iter().find(|entry| entry.version == version)
    }
}

// === impl SettingsAction ===

impl SettingsAction {
    /// The name of the action, as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Rollback => "rollback",
            Self::Schema => "schema",
        }
    }
}

impl fmt::Display for SettingsAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SettingsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope.is_default() {
            true => write!(f, "{}", self.name),
            false => write!(f, "{} in the scope {}", self.name, self.scope),
        }
    }
}

//! Why a change of the settings is refused.

use std::borrow::Cow;

use portolan_core::Remedy;
use serde::Serialize;

/// A setting that a change may not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedSetting {
    /// Its path.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// Why a change of the settings is refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeRefused {
    /// The settings are locked.
    #[error("the settings are locked by {holder}: {reason}")]
    Locked {
        /// Who holds the lock.
        holder: String,
        /// Why.
        reason: String,
    },
    /// The settings have another version than the author of the change believes.
    #[error("the settings have version {current}, and not {expected}")]
    Version {
        /// The version that the author expects.
        expected: u64,
        /// The version in force.
        current: u64,
    },
    /// The settings are not well formed, or invalid.
    #[error("{message}")]
    Invalid {
        /// What is wrong, and where.
        message: String,
        /// What resolves it.
        remedy: Option<String>,
    },
    /// Settings cannot be changed in this way. Never empty.
    #[error("{}", lines(.0))]
    Settings(Vec<RefusedSetting>),
    /// A part of the process does not agree.
    #[error("{by} refuses the change: {reason}")]
    Veto {
        /// The part.
        by: String,
        /// Why.
        reason: String,
    },
    /// There is no lock to remove.
    #[error("the settings are not locked")]
    NotLocked,
}

fn lines(settings: &[RefusedSetting]) -> String {
    let lines = settings.iter().map(|setting| format!("{}: {}", setting.path, setting.reason));
    lines.collect::<Vec<_>>().join("; ")
}

impl Remedy for ChangeRefused {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Locked { .. } => Some("change them when the lock is gone".into()),
            Self::Version { .. } => Some("read the settings again, and repeat the change".into()),
            Self::Invalid { remedy, .. } => remedy.clone().map(Cow::from),
            Self::Settings(_) => {
                Some("leave these settings as they are, or restart the server".into())
            }
            Self::Veto { .. } | Self::NotLocked => None,
        }
    }
}

//! The settings of the audit log: section `logging.audit` of the configuration.

use std::borrow::Cow;
use std::path::PathBuf;

use portolan_core::Remedy;
use serde::{Deserialize, Serialize};

/// The settings of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Where records go. Default `log`: to the log, as lines with the target `audit`, and without a chain.
    pub sink: AuditSink,
    /// The file of the sink `file`. Its directory must exist.
    pub file: Option<PathBuf>,
    /// The size in MiB at which the file is renamed and a new one begun, from 1 to 4096. Default 64.
    pub max_size_mib: u64,
    /// How many renamed files are kept, from 1 to 1000. Default 16: 1 GiB with the default size.
    pub keep: usize,
}

/// Where audit records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AuditSink {
    /// The log.
    #[default]
    Log,
    /// A file of JSON lines that only its owner can read.
    File,
    /// The systemd journal.
    Journald,
    /// The syslog daemon, facility `authpriv`.
    Syslog,
    /// Standard error, as JSON lines.
    Stderr,
}

/// Why the settings of the audit log are invalid. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAuditConfig {
    /// The sink `file` has no file.
    #[error("logging.audit.file: it is missing, and the sink is file")]
    NoFile,
    /// Another sink has a file.
    #[error("logging.audit.file: the sink is not file")]
    FileUnused,
    /// A number is out of bounds.
    #[error("logging.audit.{key}: {value} is out of bounds, expected 1 to {limit}")]
    Limit {
        /// The key of the setting.
        key: &'static str,
        /// The value.
        value: u64,
        /// The largest valid value.
        limit: u64,
    },
}

/// The largest `max_size_mib`.
const LARGEST: u64 = 4096;
/// The largest `keep`.
const MOST_KEPT: u64 = 1000;

// === impl AuditConfig ===

impl AuditConfig {
    /// Checks every constraint that the types do not express.
    pub fn validate(&self) -> Result<(), InvalidAuditConfig> {
        match (self.sink, &self.file) {
            (AuditSink::File, None) => return Err(InvalidAuditConfig::NoFile),
            (AuditSink::File, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(InvalidAuditConfig::FileUnused),
        }
        let check = |key, value, limit| match (1..=limit).contains(&value) {
            true => Ok(()),
            false => Err(InvalidAuditConfig::Limit { key, value, limit }),
        };
        check("max_size_mib", self.max_size_mib, LARGEST)?;
        check("keep", u64::try_from(self.keep).unwrap_or(u64::MAX), MOST_KEPT)
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { sink: AuditSink::Log, file: None, max_size_mib: 64, keep: 16 }
    }
}

// === impl InvalidAuditConfig ===

impl InvalidAuditConfig {
    /// Returns the path of the invalid setting, such as `logging.audit.file`.
    pub fn path(&self) -> String {
        let key = match self {
            Self::NoFile | Self::FileUnused => "file",
            Self::Limit { key, .. } => key,
        };
        format!("logging.audit.{key}")
    }
}

impl Remedy for InvalidAuditConfig {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoFile => Some("set it, such as to /var/log/portolan/audit.jsonl".into()),
            Self::FileUnused => Some("remove it, or set logging.audit.sink to file".into()),
            Self::Limit { .. } => None,
        }
    }
}

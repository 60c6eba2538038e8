//! Where the registry's policies come from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The value that means the store.
const STORE: &str = "store";

/// Where the policies and identities of clients come from, as a setting has it: `store`, or the path of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PathBuf", into = "PathBuf")]
pub enum PolicySource {
    /// The registry's own store, which all its servers share.
    Store,
    /// This file.
    File(PathBuf),
}

// === impl PolicySource ===

impl PolicySource {
    /// Returns the file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Store => None,
            Self::File(file) => Some(file),
        }
    }
}

impl From<PathBuf> for PolicySource {
    fn from(path: PathBuf) -> Self {
        match path.to_str() {
            Some(STORE) => Self::Store,
            _ => Self::File(path),
        }
    }
}

impl From<PolicySource> for PathBuf {
    fn from(source: PolicySource) -> Self {
        match source {
            PolicySource::Store => STORE.into(),
            PolicySource::File(file) => file,
        }
    }
}

//! The origin of a setting.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

/// The origin of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Origin {
    /// The built-in default.
    Default,
    /// A place in a file.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line, counted from 1.
        line: u64,
        /// The column in characters, counted from 1.
        column: u64,
    },
    /// A request to a running server.
    Request,
    /// An environment variable.
    Environment {
        /// Its name.
        variable: Arc<str>,
    },
    /// A flag of the command line.
    Flag {
        /// The flag as it was given, such as `--set`.
        name: Arc<str>,
    },
}

// === impl Origin ===

impl Origin {
    /// Returns the strength of the layer: a setting of a stronger layer overrides the same one of a weaker layer.
    pub fn strength(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Request => 2,
            Self::Environment { .. } => 3,
            Self::Flag { .. } => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Request => f.write_str("request"),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

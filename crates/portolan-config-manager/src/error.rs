//! What can be wrong with a configuration, always with the place and the remedy.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::Origin;

/// Why a configuration was not taken. Retrying does not help until somebody mends it; only
/// [`ConfigError::Read`] may pass by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read the configuration {}: {source}; check that it is there and readable", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than any configuration.
    #[error("the configuration {} has more than {limit} bytes; is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A file is not text.
    #[error("the configuration {} is not UTF-8 (byte {position}); save it as UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where the first byte stands that is not text, counted from 0.
        position: usize,
    },
    /// The defaults of the type cannot serve as the weakest layer: a mistake in the program.
    #[error("the default settings cannot be written down: {0}; report this as a bug")]
    Defaults(#[source] serde_json::Error),
    /// Settings are unknown, or not what they should be. Never empty.
    #[error("{}", lines(.0))]
    Settings(Vec<Problem>),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where it was said.
    pub origin: Origin,
    /// The setting, such as `discovery.timeouts.overall`; empty where it concerns the whole.
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
}

// === impl ConfigError ===

impl ConfigError {
    pub(crate) fn one(problem: Problem) -> Self {
        Self::Settings(vec![problem])
    }
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, path, message } = self;
        match path.is_empty() {
            true => write!(f, "{origin}: {message}"),
            false => write!(f, "{origin}: {path}: {message}"),
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

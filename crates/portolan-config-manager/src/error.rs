//! Configuration errors, each with its place.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use portolan_core::Remedy;
use serde::Serialize;

use crate::Origin;

/// Why a configuration cannot be loaded. Retrying does not help until the configuration has changed,
/// except that [`ConfigError::Read`] may be temporary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// A file is too large.
    #[error("the configuration file {} has more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A file is not UTF-8.
    #[error("the configuration file {} is not UTF-8 at byte {position}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The position of the first invalid byte, from 0.
        position: usize,
    },
    /// The default settings cannot be serialized, which is a bug.
    #[error("cannot serialize the default settings: {0}")]
    Defaults(#[source] serde_json::Error),
    /// Settings are unknown or invalid. Never empty.
    #[error("{}", lines(.0))]
    Settings(Vec<Problem>),
}

/// One unknown or invalid setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where it is set.
    pub origin: Origin,
    /// The path of the setting, such as `discovery.timeouts.overall`; empty for a whole file.
    pub path: String,
    /// What is wrong, and what is expected.
    pub message: String,
    /// What resolves the problem, as an imperative.
    pub remedy: Option<String>,
}

// === impl ConfigError ===

impl ConfigError {
    pub(crate) fn one(problem: Problem) -> Self {
        Self::Settings(vec![problem])
    }
}

impl Remedy for ConfigError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Read { .. } => Some("check that the file exists and is readable".into()),
            Self::TooLarge { .. } => Some("check that it is the right file".into()),
            Self::NotText { .. } => Some("save the file as UTF-8".into()),
            Self::Defaults(_) => Some("report this as a bug".into()),
            Self::Settings(problems) => {
                let remedies = problems.iter().filter_map(|problem| problem.remedy.as_deref());
                let remedies: Vec<&str> = remedies.collect();
                (!remedies.is_empty()).then(|| remedies.join("; ").into())
            }
        }
    }
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, path, message, .. } = self;
        let separator = if path.is_empty() { "" } else { ": " };
        write!(f, "{origin}: {path}{separator}{message}")
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_remedies() {
        let path = || PathBuf::from("/etc/portolan.yaml");
        let source = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let not_json = serde_json::from_str::<()>("x").unwrap_err();
        let problem = |message: &str, remedy: Option<&str>| Problem {
            origin: Origin::Flag { name: "--set".into() },
            path: "discovery.retries".to_owned(),
            message: message.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        let problems = vec![
            problem("unknown key", None),
            problem("duplicate strategy", Some("name each strategy once")),
        ];
        let errors = [
            ConfigError::Read { path: path(), source: source() },
            ConfigError::TooLarge { path: path(), limit: crate::MAX_FILE_SIZE },
            ConfigError::NotText { path: path(), position: 7 },
            ConfigError::Defaults(not_json),
            ConfigError::Settings(problems),
        ];
        let texts = errors.map(|error| format!("{error}\n  remedy: {:?}\n", error.remedy()));
        insta::assert_snapshot!(texts.concat());
    }
}

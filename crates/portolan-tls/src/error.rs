//! What is wrong with certificates and keys.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use portolan_core::Remedy;

/// Why certificates or keys cannot be used. Do not retry before a file has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {reason}", file.display())]
    File {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A file has no usable contents.
    #[error("{}: {problem}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that is needed is not given.
    #[error("no {what} is given")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A key can be read by other users than its owner, and the group that root has given it.
    #[error("{}: other users of this host can read the key", .0.display())]
    OpenKey(PathBuf),
    /// A file of an authority exists already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// A name or an address cannot be in a certificate.
    #[error("{name:?} cannot be in a certificate: {problem}")]
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No certificate of this authority has the name.
    #[error("the authority has issued no certificate {0:?} that is not revoked")]
    UnknownCertificate(String),
    /// The crypto library refused.
    #[error("TLS: {0}")]
    Library(String),
}

// === impl TlsError ===

impl TlsError {
    pub(crate) fn file(action: &'static str, file: &Path, error: &std::io::Error) -> Self {
        Self::File { action, file: file.to_owned(), reason: error.to_string() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "as `map_err` passes it")]
    pub(crate) fn invalid(file: &Path, problem: impl ToString) -> Self {
        Self::Invalid { file: file.to_owned(), problem: problem.to_string() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "as `map_err` passes it")]
    pub(crate) fn library(error: impl ToString) -> Self {
        Self::Library(error.to_string())
    }
}

impl Remedy for TlsError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Missing { remedy, .. } => Some((*remedy).into()),
            Self::OpenKey(file) => {
                Some(format!("take the permission away with `chmod 600 {}`", file.display()).into())
            }
            Self::Exists(_) => {
                Some("choose another name or directory, or remove it if nothing uses it".into())
            }
            Self::UnknownCertificate(_) => {
                Some("`portolan ca list` shows those that it has issued".into())
            }
            Self::Invalid { .. } => {
                Some("expected a PEM file, such as those that `portolan ca` makes".into())
            }
            Self::File { .. } | Self::InvalidName { .. } | Self::Library(_) => None,
        }
    }
}

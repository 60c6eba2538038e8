//! Why the audit log cannot be written.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use portolan_core::Remedy;

/// Why the audit log cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// A file cannot be opened, read or written. Retry once the cause is gone.
    #[error("audit log {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file is not one that only this user writes. Retrying does not help.
    #[error("audit log {}: {problem}", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it is.
        problem: &'static str,
    },
    /// The newest record in the file is damaged, so that nothing can be appended to the chain. Retrying does not help.
    #[error("audit log {}: the last record is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file is locked by another process. Retry.
    #[error("audit log {}: another process has locked it for too long", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The socket of the journal or of syslog does not accept records. Retry once the daemon runs.
    #[error("audit log: {socket}: {source}")]
    Socket {
        /// The socket.
        socket: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Standard error cannot be written. Retrying does not help.
    #[error("audit log: standard error: {0}")]
    Stderr(#[source] io::Error),
    /// The thread that writes cannot be started. Retry.
    #[error("audit log: cannot start its thread: {0}")]
    Thread(#[source] io::Error),
}

impl Remedy for AuditError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::File { .. } => Some(
                "set logging.audit.file to a file in a directory that this user can write".into(),
            ),
            Self::NotOurs { .. } => {
                Some("set logging.audit.file to another file, or move this one away".into())
            }
            Self::Damaged { .. } => Some(
                "run `portolan audit verify` on it, and move it away; a new one is begun".into(),
            ),
            Self::Locked { .. } => Some(
                "find the process with lsof(8), or set logging.audit.file to another file".into(),
            ),
            Self::Socket { .. } => {
                Some("start the daemon, or set logging.audit.sink to file".into())
            }
            Self::Stderr(_) => {
                Some("keep standard error open, or set logging.audit.sink to file".into())
            }
            Self::Thread(_) => None,
        }
    }
}

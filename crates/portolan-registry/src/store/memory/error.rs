//! The errors of a data directory.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use portolan_core::Remedy;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another server uses the directory.
    #[error("service_registry.data_dir: {} is in use by {}", path.display(), owner(*pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that uses it, if known.
        pid: Option<u32>,
    },
    /// A file of the directory is damaged in a place that a crash cannot have torn.
    #[error("service_registry.data_dir: {} is damaged in line {line}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of the directory is missing.
    #[error("service_registry.data_dir: {} is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file has the format of another version.
    #[error(
        "service_registry.data_dir: {} has the format {found}, this version reads {expected}",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version of the format of the file.
        found: u32,
        /// The version of the format that is expected.
        expected: u32,
    },
    /// An operation on a file failed.
    #[error("service_registry.data_dir: cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

// === impl DataDirError ===

impl DataDirError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// Whether the directory can be read and not written at the moment: its file system is full or
    /// read-only.
    pub(super) fn is_read_only(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let Self::Io { source, .. } = self else { return false };
        matches!(source.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
    }
}

impl Remedy for DataDirError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::InUse { .. } => "end that server, or set another directory",
            Self::Damaged { .. } | Self::Missing { .. } => {
                "restore the directory from a backup, or move it away: the registry then starts empty, and \
                 services register again by themselves"
            }
            Self::Version { .. } => {
                "use the version of portolan that wrote it, or set another directory"
            }
            Self::Io { .. } => "set a directory that this user can write",
        };
        Some(remedy.into())
    }
}

fn owner(pid: Option<u32>) -> Cow<'static, str> {
    pid.map_or("another server".into(), |pid| format!("process {pid}").into())
}

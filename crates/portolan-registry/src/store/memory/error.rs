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
    /// A file of the directory was removed, or another one has its name, while a server used it.
    #[error("service_registry.data_dir: {} was removed or replaced while the registry used it", path.display())]
    Removed {
        /// The file.
        path: PathBuf,
    },
    /// The journal has another length than what the server has written.
    #[error(
        "service_registry.data_dir: {} has {found} bytes and the registry wrote {written}: something else has written to it",
        path.display()
    )]
    Overwritten {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The length that it should have.
        written: u64,
    },
    /// Something else has used the directory after it was removed or replaced.
    #[error("service_registry.data_dir: {} has the files of another server now", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
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
            Self::Removed { .. } => {
                "put the directory back, or create an empty one in its place: the registry then writes its state there"
            }
            Self::Overwritten { .. } => {
                "do not copy files into the directory while a server runs: this one goes on with its own state, in new files"
            }
            Self::Foreign { .. } => {
                "restart this server to go on with these files, or move them away to keep its own state"
            }
            Self::Io { source, .. } => io_remedy(source.kind()),
        };
        Some(remedy.into())
    }
}

/// What helps against an error of the system.
fn io_remedy(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind::{
        AlreadyExists, IsADirectory, NotADirectory, NotFound, PermissionDenied, QuotaExceeded,
        ReadOnlyFilesystem, StorageFull,
    };
    match kind {
        PermissionDenied => {
            "let the user of the server read and write it, as with chown, or set another directory"
        }
        NotFound => "create the directory, or set another one",
        AlreadyExists | NotADirectory | IsADirectory => {
            "something else has this name: move it away, or set another directory"
        }
        ReadOnlyFilesystem => {
            "mount its file system for writing, or set a directory on another one"
        }
        StorageFull | QuotaExceeded => {
            "free space on its file system, or set a directory on another one"
        }
        _ => "check the disk and its file system, or set another directory",
    }
}

fn owner(pid: Option<u32>) -> Cow<'static, str> {
    pid.map_or("another server".into(), |pid| format!("process {pid}").into())
}

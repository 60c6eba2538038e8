//! Files of keys and tokens that may be replaced while a program runs.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use portolan_core::Secret;

use super::{KeyProblem, read_secret};

/// What the file system says of some files. It differs if one was written, or replaced by another one, also if a symbolic
/// link on the way to it was, as Kubernetes does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Stamp(Vec<Option<FileState>>);

/// Device, inode, length and time of modification.
type FileState = (u64, u64, u64, Option<SystemTime>);

/// The file of a secret, which is read again when it has changed.
#[derive(Debug, Clone)]
pub struct FollowedSecret {
    path: PathBuf,
    stamp: Option<Stamp>,
}

// === impl Stamp ===

impl Stamp {
    pub(super) fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        Self(files.into_iter().map(|file| fs::metadata(file).ok().as_ref().map(state)).collect())
    }

    /// Whether there is no file at all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(unix)]
fn state(file: &Metadata) -> FileState {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino(), file.len(), file.modified().ok())
}

#[cfg(not(unix))]
fn state(file: &Metadata) -> FileState {
    (0, 0, file.len(), file.modified().ok())
}

// === impl FollowedSecret ===

impl FollowedSecret {
    /// Follows a file that [`read_secret`] reads. The first call of [`Self::changed`] reads it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), stamp: None }
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file if it has changed since the last call.
    ///
    /// # Errors
    ///
    /// The changed file cannot be used. It is not read again before the next change.
    pub fn changed(&mut self) -> Result<Option<Secret>, KeyProblem> {
        // Before the file is read, so that a change meanwhile is found by the next call.
        let stamp = Stamp::of([&*self.path]);
        if self.stamp.as_ref() == Some(&stamp) {
            return Ok(None);
        }
        self.stamp = Some(stamp);
        read_secret(&self.path).map(Some)
    }
}

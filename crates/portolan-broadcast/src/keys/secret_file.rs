//! Files of secrets that may be replaced while a program runs.

use std::path::{Path, PathBuf};

use portolan_core::{FileStamp, Secret};

use super::{KeyProblem, read_secret};

/// The file of a secret, which is read again when it has changed.
#[derive(Debug, Clone)]
pub struct FollowedSecret {
    path: PathBuf,
    stamp: FileStamp,
}

// === impl FollowedSecret ===

impl FollowedSecret {
    /// Follows a file that [`read_secret`] reads. The first call of [`Self::changed`] reads it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), stamp: FileStamp::default() }
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
        match self.stamp.refresh([&*self.path]) {
            true => read_secret(&self.path).map(Some),
            false => Ok(None),
        }
    }
}

//! Shares of a session: what keeps it alive for the children of its owner.
//!
//! A child may drop its privileges, so it must not get a description of the table, with which it could change
//! every reservation. It gets a *share*: a description of its own of the session's file, which is empty, opened
//! for reading only and locked shared (`F_OFD_SETLK`). With it a process can give up its own share and nothing
//! else: an exclusive lock, or a change of the file, needs a description for writing.
//!
//! Only the owner of the session, whose byte of the table is locked, creates or removes the file.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::lock::{self, Kind};

/// The byte of the session's file that every share locks.
const SHARE_LOCK: u64 = 0;
/// How many times a share is taken anew because its file was removed by hand meanwhile.
const TRIES: usize = 3;
/// The end of the name of a session's file.
const SUFFIX: &str = "session";

/// Keeps a session alive: the leases last at least as long as any copy of this description is open. For one
/// child process, which inherits it.
#[derive(Debug)]
pub struct SessionShare(File);

/// The path of the file of the session with this index.
pub(crate) fn path(table: &Path, index: u16) -> PathBuf {
    table.with_extension(format!("{index}.{SUFFIX}"))
}

/// Takes a share of the session with this file, and creates the file if it is missing.
pub(crate) fn take(path: &Path) -> io::Result<SessionShare> {
    for _ in 0..TRIES {
        let file = open(path, OFlags::CREATE)?;
        if !lock::try_lock(&file, SHARE_LOCK, Kind::Shared)? {
            return Err(ErrorKind::ResourceBusy.into());
        }
        if rustix::fs::fstat(&file)?.st_nlink > 0 {
            return Ok(SessionShare(file));
        }
    }
    Err(ErrorKind::NotFound.into())
}

/// Whether a share of the session with this file is left.
pub(crate) fn is_taken(path: &Path) -> io::Result<bool> {
    match open(path, OFlags::empty()) {
        Ok(file) => lock::is_locked(&file, SHARE_LOCK, 1),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the file unless a share is left; returns whether none is.
pub(crate) fn remove_unless_taken(path: &Path) -> io::Result<bool> {
    if is_taken(path)? {
        return Ok(false);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

/// The files of the sessions of a table.
pub(crate) fn files(table: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(stem)) = (table.parent(), table.file_stem()) else {
        return Ok(Vec::new());
    };
    let is_one = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == SUFFIX)
            && path.file_stem().map(Path::new).and_then(Path::file_stem) == Some(stem)
    };
    let paths = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    Ok(paths.filter(is_one).collect())
}

/// For reading only, also by its owner.
fn open(path: &Path, create: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | create;
    Ok(rustix::fs::open(path, flags, Mode::RUSR)?.into())
}

// === impl SessionShare ===

impl AsFd for SessionShare {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<SessionShare> for OwnedFd {
    fn from(share: SessionShare) -> Self {
        share.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_lasts_until_its_last_copy_is_closed_and_the_file_as_long() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(&directory.path().join("ports-1.table"), 7);
        assert!(path.ends_with("ports-1.7.session"));
        assert!(!is_taken(&path).unwrap());
        let (one, other) = (take(&path).unwrap(), take(&path).unwrap());
        let copy = one.as_fd().try_clone_to_owned().unwrap();
        drop((one, other));
        assert!(is_taken(&path).unwrap() && !remove_unless_taken(&path).unwrap());
        drop(copy);
        assert!(!is_taken(&path).unwrap() && path.exists());
        assert!(remove_unless_taken(&path).unwrap() && !path.exists());
    }

    #[test]
    fn holder_of_a_share_can_give_up_its_own_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ports-1.7.session");
        let (one, other) = (take(&path).unwrap(), take(&path).unwrap());
        lock::unlock(&one.0, SHARE_LOCK).unwrap();
        assert!(is_taken(&path).unwrap(), "the other one is left");
        assert!(lock::try_lock(&one.0, SHARE_LOCK, Kind::Exclusive).is_err(), "for reading only");
        assert!(one.0.set_len(1).is_err());
        drop(other);
        assert!(!is_taken(&path).unwrap());
    }

    #[test]
    fn files_of_other_tables_are_not_listed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["ports-1.table", "ports-1.3.session", "ports-12.3.session", "ports-1.3.x"] {
            fs::write(at(name), "").unwrap();
        }
        assert_eq!(files(&at("ports-1.table")).unwrap(), [at("ports-1.3.session")]);
    }
}

//! The data directory of the store `memory`: its lock and its files.
//!
//! | file | contents |
//! | --- | --- |
//! | `LOCK` | locked by the server that uses the directory (flock(2)); its text is the process id |
//! | `snapshot-N` | the state in which `journal-N` begins; missing for the first one |
//! | `journal-N` | the changes since, the newest last |
//!
//! A snapshot is written under a temporary name and renamed, so that it exists as a whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::error::DataDirError;

const LOCK: &str = "LOCK";
const TEMPORARY: &str = ".tmp";

/// A data directory that this process has locked, or only reads.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The directory that was locked, whatever has its name.
    place: FileId,
    /// The lock is released when the file is closed. If the directory is only read: the directory, which is not locked.
    lock: Mutex<File>,
}

/// What tells a file from another one that has its name by now: its device and its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

/// The type of a numbered file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Journal,
    Snapshot,
}

// === impl DataDir ===

impl DataDir {
    /// Locks a directory, which is created if it is missing.
    pub(crate) fn lock(path: &Path) -> Result<Self, DataDirError> {
        let failed = |action| move |source| DataDirError::io(action, path, source);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create"))?;
        let path = fs::canonicalize(path).map_err(failed("open"))?;
        let place = fs::metadata(&path).map_err(failed("open"))?;
        let lock = Mutex::new(acquire(&path)?);
        Ok(Self { path, place: FileId::of(&place), lock })
    }

    /// Opens a directory for reading, whether a server uses it or not. Returns the process of that server, 0 if it
    /// is not known.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<u32>), DataDirError> {
        let failed = |source| DataDirError::io("open", path, source);
        let path = fs::canonicalize(path).map_err(failed)?;
        let directory = File::open(&path).map_err(failed)?;
        let place = FileId::of(&directory.metadata().map_err(failed)?);
        let user = match File::open(path.join(LOCK)) {
            Ok(lock) => user(&lock),
            Err(_) => None,
        };
        Ok((Self { path, place, lock: Mutex::new(directory) }, user))
    }

    /// Checks that the directory and the journal that is written are still those at their paths: what is written to a file
    /// that was removed is lost at the next start. Returns the length of the journal.
    pub(crate) fn check(&self, number: u64, journal: &File) -> Result<u64, DataDirError> {
        self.check_file(self.path.join(LOCK), &self.lock.lock())?;
        self.check_file(self.file(FileKind::Journal, number), journal)
    }

    /// Checks that the file is the one at the path. Returns its length.
    fn check_file(&self, path: PathBuf, file: &File) -> Result<u64, DataDirError> {
        let failed = |source| DataDirError::io("check", &path, source);
        let open = FileId::of(&file.metadata().map_err(failed)?);
        match fs::metadata(&path) {
            Ok(metadata) if FileId::of(&metadata) == open => Ok(metadata.len()),
            Ok(_) => Err(DataDirError::Removed { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(DataDirError::Removed { path })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Locks the directory again if its lock was removed, unless another server has used it meanwhile, or it is another
    /// directory that has files of a registry. The journal of this process has this number and this length; its newest file
    /// may have a greater number.
    pub(crate) fn reclaim(
        &self,
        newest: u64,
        (number, length): (u64, u64),
    ) -> Result<(), DataDirError> {
        let mut lock = self.lock.lock();
        if self.check_file(self.path.join(LOCK), &lock).is_ok() {
            return Ok(());
        }
        let failed = |source| DataDirError::io("open", &self.path, source);
        let place = FileId::of(&fs::metadata(&self.path).map_err(failed)?);
        let locked = acquire(&self.path)?;
        let foreign = || DataDirError::Foreign { path: self.path.clone() };
        for kind in [FileKind::Journal, FileKind::Snapshot] {
            let found = self.numbers(kind)?.pop();
            if found.is_some_and(|found| place != self.place || found > newest) {
                return Err(foreign());
            }
        }
        let journal = fs::metadata(self.file(FileKind::Journal, number));
        if journal.is_ok_and(|journal| journal.len() > length) {
            return Err(foreign());
        }
        *lock = locked;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, kind: FileKind, number: u64) -> PathBuf {
        self.path.join(format!("{}{number:08}", kind.prefix()))
    }

    /// The numbers of the files of this type, in order.
    pub(crate) fn numbers(&self, kind: FileKind) -> Result<Vec<u64>, DataDirError> {
        let failed = |source| DataDirError::io("list", &self.path, source);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix(kind.prefix()));
            numbers.extend(digits.and_then(number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Creates a file under a temporary name. It is appended to, so that its length shows if another process writes to it.
    pub(crate) fn create_temporary(&self, kind: FileKind, number: u64) -> io::Result<File> {
        let path = temporary(&self.file(kind, number));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => OpenOptions::new().append(true).create_new(true).mode(0o600).open(path),
        }
    }

    /// Gives a file that was created under a temporary name its name, durably.
    pub(crate) fn publish(&self, kind: FileKind, number: u64) -> io::Result<()> {
        let path = self.file(kind, number);
        fs::rename(temporary(&path), path)?;
        self.sync()
    }

    /// Removes the temporary file, if there is one.
    pub(crate) fn discard_temporary(&self, kind: FileKind, number: u64) {
        _ = fs::remove_file(temporary(&self.file(kind, number)));
    }

    /// Finishes a file that has no name yet. Returns whether there was one.
    pub(crate) fn finish(&self, kind: FileKind, number: u64) -> Result<bool, DataDirError> {
        let path = temporary(&self.file(kind, number));
        match self.publish(kind, number) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(DataDirError::io("rename", &path, source)),
        }
    }

    /// Removes what a crash left under a temporary name. A file system that cannot be written keeps it.
    pub(crate) fn remove_temporary(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        let paths = entries.flatten().map(|entry| entry.path());
        let kinds = [FileKind::Journal, FileKind::Snapshot];
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.and_then(|name| name.strip_suffix(TEMPORARY)) else { continue };
            if kinds.iter().any(|kind| name.strip_prefix(kind.prefix()).and_then(number).is_some())
            {
                _ = fs::remove_file(&path);
            }
        }
    }

    /// Removes the files before this number.
    pub(crate) fn remove_before(&self, kind: FileKind, number: u64) -> Result<(), DataDirError> {
        for old in self.numbers(kind)?.into_iter().filter(|old| *old < number) {
            let path = self.file(kind, old);
            fs::remove_file(&path).map_err(|source| DataDirError::io("remove", &path, source))?;
        }
        Ok(())
    }

    /// Makes the names in the directory durable.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl FileId {
    fn of(metadata: &fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

impl FileKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Journal => "journal-",
            Self::Snapshot => "snapshot-",
        }
    }
}

/// The number in the name of a file, in the form in which it is written. Others are not ours.
fn number(digits: &str) -> Option<u64> {
    let number = u64::from(digits.parse::<u32>().ok()?);
    (format!("{number:08}") == digits).then_some(number)
}

/// Opens the lock file of a directory, and locks it.
fn acquire(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join(LOCK);
    let mut lock = open_lock(&path).map_err(|source| DataDirError::io("open", &path, source))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let (path, pid) = (directory.to_owned(), process(&lock));
            return Err(DataDirError::InUse { path, pid });
        }
        Err(TryLockError::Error(source)) => return Err(DataDirError::io("lock", &path, source)),
    }
    // For the message of another server only, which does without it on a read-only file system.
    _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    Ok(lock)
}

/// Opens the lock file; read-only if the file system is, which suffices for the lock.
fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(path),
        opened => opened,
    }
}

/// The process that has locked the file, 0 if it is not known; `None` if there is none. The lock is tried for a moment.
fn user(lock: &File) -> Option<u32> {
    match lock.try_lock_shared() {
        Ok(()) => {
            _ = lock.unlock();
            None
        }
        Err(_) => Some(process(lock).unwrap_or_default()),
    }
}

/// The process that the lock file names.
fn process(mut lock: &File) -> Option<u32> {
    let mut owner = String::new();
    _ = (&mut lock).take(16).read_to_string(&mut owner);
    owner.trim().parse().ok()
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    name.into()
}

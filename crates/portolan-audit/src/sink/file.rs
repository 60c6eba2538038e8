//! A file of JSON lines that only its owner can read. Several processes may append to it: each write holds its lock, and
//! continues the chain that is in the file by then.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{Access, OFlags};
use serde_json::{Map, Value};
use tracing::{info, warn};

use crate::chain::{ChainEnd, Link, MAX_LINE};
use crate::loss::loss;
use crate::{AuditConfig, AuditError};

/// How long to wait for another process that writes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_POLL: Duration = Duration::from_millis(5);
const MIB: u64 = 1024 * 1024;
/// How long after a failure the file is tried to be renamed again.
const ROTATE_AGAIN: Duration = Duration::from_secs(60);
/// The length of a file that was not read yet.
const UNREAD: u64 = u64::MAX;
/// What is recorded of a record that a crash has cut short.
const TORN: &str = "The file ended within a record, which was cut off";

/// The file, and where its chain ends.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    max_size: u64,
    keep: usize,
    open: Option<OpenFile>,
    /// When the file is tried to be renamed again, after a failure.
    rotate_after: Option<Timestamp>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    /// The length that this process knows, and the end of the chain there.
    length: u64,
    end: ChainEnd,
    /// Whether the last write of this process failed. Its records are counted as lost by the writer, so that one that was written in part
    /// is not recorded as lost once more.
    failed: bool,
}

/// Where the chain ends in a file that is no longer at its path.
struct Left {
    end: ChainEnd,
    is_removed: bool,
}

/// What is at the end of a file.
struct Tail {
    end: ChainEnd,
    /// The length of all whole lines.
    length: u64,
}

// === impl LogFile ===

impl LogFile {
    pub(crate) fn new(config: &AuditConfig) -> Self {
        let path = config.file.clone().unwrap_or_default();
        Self {
            path,
            max_size: config.max_size_mib * MIB,
            keep: config.keep,
            open: None,
            rotate_after: None,
        }
    }

    /// Opens the file, and creates it if it is missing.
    pub(crate) fn open(&mut self) -> Result<(), AuditError> {
        self.locked(|_, _| Ok(()))?;
        if let Err(error) =
            rustix::fs::access(folder_of(&self.path), Access::WRITE_OK | Access::EXEC_OK)
        {
            let error = io::Error::from(error);
            warn!(file = %self.path.display(), %error, "Audit file will grow without a bound: it cannot be renamed in its directory");
        }
        Ok(())
    }

    /// Appends records.
    pub(crate) fn write(&mut self, records: &[Map<String, Value>]) -> Result<(), AuditError> {
        let (max_size, keep, path) = (self.max_size, self.keep, self.path.clone());
        let error = |source| AuditError::File { path: path.clone(), source };
        let full = self.locked(|open, _| {
            open.append(records).map_err(error)?;
            Ok(open.length >= max_size)
        })?;
        let now = Timestamp::now();
        if full && self.rotate_after.is_none_or(|after| now >= after) {
            // The records are written; the file only grows beyond its size.
            self.rotate_after = match self.rotate(keep) {
                Ok(()) => None,
                Err(error) => {
                    warn!(%error, "Audit file cannot be renamed, and grows");
                    Some(now + ROTATE_AGAIN)
                }
            };
        }
        Ok(())
    }

    pub(crate) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            // There is nobody left to tell.
            _ = open.file.sync_all();
        }
    }

    /// Runs an action on the current file with its lock held, and its chain up to date.
    fn locked<T>(
        &mut self,
        action: impl FnOnce(&mut OpenFile, &Path) -> Result<T, AuditError>,
    ) -> Result<T, AuditError> {
        let path = self.path.clone();
        let error = |source| AuditError::File { path: path.clone(), source };
        let mut left: Option<Left> = None;
        loop {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => OpenFile::new(&path)?,
            };
            lock(&open.file, &path)?;
            // Another process may have renamed the file meanwhile, and others may have written to it until then.
            if !is_at(&open.file, &path).map_err(error)? {
                let ends = [left, open.leave(&path).map_err(error)?];
                left = ends.into_iter().flatten().max_by_key(|left| left.end.sequence);
                continue;
            }
            let caught_up = open.catch_up(&path, left.take());
            let result = caught_up.and_then(|()| action(&mut open, &path));
            open.file.unlock().map_err(error)?;
            self.open = Some(open);
            return result;
        }
    }

    /// Renames the file after its first record, and begins a new one that continues the chain.
    fn rotate(&mut self, keep: usize) -> Result<(), AuditError> {
        let max_size = self.max_size;
        let end = self.locked(|open, path| {
            if open.length < max_size {
                return Ok(None);
            }
            let error = |source| AuditError::File { path: path.to_owned(), source };
            open.file.sync_all().map_err(error)?;
            let first = first_sequence(&open.file).map_err(error)?;
            fs::rename(path, rotated(path, first)).map_err(error)?;
            remove_old(path, keep).map_err(error)?;
            Ok(Some(open.end))
        })?;
        if let Some(end) = end {
            self.open = None;
            // The first record of the new file names the end of the old one.
            let mut open = OpenFile::new(&self.path)?;
            (open.length, open.end) = (0, end);
            self.open = Some(open);
        }
        Ok(())
    }
}

// === impl OpenFile ===

impl OpenFile {
    fn new(path: &Path) -> Result<Self, AuditError> {
        let error = |source| AuditError::File { path: path.to_owned(), source };
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(flags)
            .open(path)
            .map_err(error)?;
        let metadata = file.metadata().map_err(error)?;
        let not_ours = |problem| AuditError::NotOurs { path: path.to_owned(), problem };
        if !metadata.is_file() {
            return Err(not_ours("it is not a file"));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(not_ours("it belongs to another user"));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(not_ours("others may read or write it, expected the mode 0600"));
        }
        Ok(Self { file, length: UNREAD, end: ChainEnd::START, failed: false })
    }

    /// The end of the chain, once it is known.
    fn known_end(&self) -> Option<ChainEnd> {
        (self.length != UNREAD).then_some(self.end)
    }

    /// Reads where the chain ends in this file, which has another name by now or none. Nobody writes to it after its lock was
    /// held by this process.
    fn leave(&mut self, path: &Path) -> io::Result<Option<Left>> {
        let metadata = self.file.metadata()?;
        let known = self.known_end();
        let before = known.map_or_else(|| previous_file(path), Ok)?;
        let found = tail(&mut self.file, metadata.len(), before)?.map(|tail| tail.end);
        // It may have been cut before.
        let end = [found, known].into_iter().flatten().max_by_key(|end| end.sequence);
        Ok(end.map(|end| Left { end, is_removed: metadata.nlink() == 0 }))
    }

    /// Reads the end of the chain if another process has written since, or a write was cut short.
    ///
    /// Nobody but an intruder shortens or removes the file. The chain then goes on from the end that this process knows, so that
    /// the verification finds the gap. A file that was renamed, as by logrotate, is continued too, and has all records before.
    fn catch_up(&mut self, path: &Path, left: Option<Left>) -> Result<(), AuditError> {
        let error = |source| AuditError::File { path: path.to_owned(), source };
        let actual = self.file.metadata().map_err(error)?.len();
        if actual == self.length {
            return Ok(());
        }
        let begun = previous_file(path).map_err(error)?;
        let cut = self.known_end().filter(|_| actual < self.length);
        // Files that are no longer written are removed too, but one of them ends after this.
        let left = left.filter(|left| actual == 0 && begun.sequence < left.end.sequence);
        if let Some(Left { end, is_removed: false }) = left {
            info!(file = %path.display(), last = end.sequence, "Audit file was renamed, its chain goes on in a new one");
            (self.length, self.end) = (0, end);
            return Ok(());
        }
        if let Some(end) = cut.or(left.map(|left| left.end)) {
            warn!(file = %path.display(), last = end.sequence, "Audit file was cut or removed while it was written, its chain has a gap");
            let whole = tail(&mut self.file, actual, end).map_err(error)?;
            let length = whole.map_or(actual, |tail| tail.length);
            self.file.set_len(length).map_err(error)?;
            (self.length, self.end) = (length, end);
            return Ok(());
        }
        let tail = tail(&mut self.file, actual, begun).map_err(error)?;
        let Some(Tail { end, length }) = tail else {
            return Err(AuditError::Damaged { path: path.to_owned() });
        };
        (self.length, self.end) = (length, end);
        let failed = std::mem::take(&mut self.failed);
        if length == actual {
            return Ok(());
        }
        self.file.set_len(length).map_err(error)?;
        if failed {
            return Ok(());
        }
        let bytes = actual - length;
        warn!(file = %path.display(), bytes, "Audit file ended within a record, which is lost");
        self.append(&[loss(1, TORN)]).map_err(error)
    }

    fn append(&mut self, records: &[Map<String, Value>]) -> io::Result<()> {
        let mut end = self.end;
        let lines: String = records.iter().map(|record| end.append(record)).collect();
        // After a write that fails, the length differs, and the rest of it is cut off.
        self.failed = true;
        self.file.write_all(lines.as_bytes())?;
        self.failed = false;
        self.length += lines.len() as u64;
        self.end = end;
        Ok(())
    }
}

/// Takes the lock of the file. A process that is stopped may hold it for ever.
fn lock(file: &File, path: &Path) -> Result<(), AuditError> {
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if waited < LOCK_TIMEOUT => {
                thread::sleep(LOCK_POLL);
                waited += LOCK_POLL;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(AuditError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(AuditError::File { path: path.to_owned(), source });
            }
        }
    }
}

/// Whether the path leads to this open file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads the last whole line; `None` if it is damaged. An empty file continues the chain of the one before it.
fn tail(file: &mut File, length: u64, before: ChainEnd) -> io::Result<Option<Tail>> {
    let start = length.saturating_sub(2 * MAX_LINE as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    Read::by_ref(file).take(length - start).read_to_end(&mut bytes)?;
    let Some(last) = bytes.iter().rposition(|&byte| byte == b'\n') else {
        // All of it is a line without an end, or there is none.
        return Ok((start == 0).then_some(Tail { end: before, length: 0 }));
    };
    let begin = bytes[..last].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let line = std::str::from_utf8(&bytes[begin..last]).unwrap_or_default();
    let length = start + last as u64 + 1;
    Ok(Link::read(line).ok().map(|link| Tail { end: link.end(), length }))
}

fn first_sequence(file: &File) -> io::Result<u64> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(MAX_LINE as u64).read_to_end(&mut bytes)?;
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default();
    Ok(Link::read(line).map_or(0, |link| link.sequence))
}

/// The name of a file that is no longer written: with the sequence number of its first record, so that names are in order.
fn rotated(path: &Path, first: u64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{first:020}"));
    path.with_file_name(name)
}

/// The files that are no longer written, the oldest first.
fn rotated_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let prefix = format!("{}-", path.file_name().unwrap_or_default().to_string_lossy());
    let own = rustix::process::geteuid().as_raw();
    let mut files = Vec::new();
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        // In a directory that others can change, a file of theirs is none of the chain.
        let is_ours = entry.metadata().is_ok_and(|it| it.is_file() && it.uid() == own);
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix(&prefix).unwrap_or_default();
        if is_ours && number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn remove_old(path: &Path, keep: usize) -> io::Result<()> {
    let files = rotated_files(path)?;
    let surplus = files.len().saturating_sub(keep);
    files[..surplus].iter().try_for_each(fs::remove_file)
}

/// The end of the chain in the newest file that is no longer written.
fn previous_file(path: &Path) -> io::Result<ChainEnd> {
    let Some(newest) = rotated_files(path)?.pop() else { return Ok(ChainEnd::START) };
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(newest)?;
    let length = file.metadata()?.len();
    let tail = tail(&mut file, length, ChainEnd::START)?;
    Ok(tail.map_or(ChainEnd::START, |tail| tail.end))
}

#[cfg(test)]
mod tests;

//! The file of the reservation table: its location, its layout, and when it is rebuilt.
//!
//! The file is never truncated below the size of the table, because other processes may have it
//! mapped, and never replaced by another file while a session lasts, because two tables would grant
//! ports twice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use rustix::fs::OFlags;
use tracing::warn;

use crate::error::TableError;
use crate::lock::{self, Kind, LOCK_TIMEOUT};
use crate::slot::SessionId;
use crate::{lock_holder, rate_limit, record, share};

/// The first two words: a magic number and the version of the layout. A table with another version
/// is not used.
pub(crate) const HEADER: [u64; 2] = [u64::from_be_bytes(*b"Portolan"), 6];
/// The index of the first session's epoch; the header has a page of its own.
pub(crate) const SESSIONS: usize = 512;
/// The index of the first slot.
pub(crate) const SLOTS: usize = SESSIONS + SessionId::COUNT;
/// The index of the last ticket that was taken.
pub(crate) const LAST_TICKET: usize = SLOTS + PORTS;
/// The index of the first rate limit.
pub(crate) const RATES: usize = LAST_TICKET + 1;
/// The index of the first record, at the beginning of a page.
pub(crate) const RECORDS: usize = (RATES + rate_limit::WORDS).next_multiple_of(PAGE as usize / 8);
/// The number of pages of records.
pub(crate) const RECORD_PAGES: usize = PORTS * record::WORDS * 8 / PAGE as usize;
/// The number of words. Most records have no disk space.
pub(crate) const WORDS: usize = RECORDS + PORTS * record::WORDS;

const PORTS: usize = 1 << 16;
const PAGE: u64 = 4096;
/// The length of the file in bytes.
pub(crate) const LENGTH: u64 = bytes(WORDS);

/// The byte whose lock is exclusive while the table is built and shared while a session begins. Like
/// the other lock bytes it is beyond the end of the file. All versions of the layout use the same
/// bytes, so that each sees the sessions of the others.
pub(crate) const INIT_LOCK: u64 = 1 << 40;
/// How long to wait for that lock before looking whether another process has built the table.
const BUILD_PAUSE: Duration = Duration::from_millis(20);
/// The byte whose lock allows one session to count leases exactly.
pub(crate) const QUOTA_LOCK: u64 = INIT_LOCK - 1;
const FIRST_SESSION_LOCK: u64 = INIT_LOCK + 1;

const _: () = assert!(bytes(RECORDS).is_multiple_of(PAGE), "records must not cross pages");

/// The byte whose lock keeps a session alive.
pub(crate) fn session_lock(index: u16) -> u64 {
    FIRST_SESSION_LOCK + u64::from(index)
}

/// The offset of the page with a port's record, and its index among the pages of records.
pub(crate) fn page_of_record(port: u16) -> (u64, usize) {
    let index = usize::from(port) * record::WORDS * 8 / PAGE as usize;
    (bytes(RECORDS) + index as u64 * PAGE, index)
}

/// Opens the table of this boot and network namespace, and builds it if it is missing, or if it is
/// damaged and unused.
pub(crate) fn open(directory: &Path) -> Result<(PathBuf, File), TableError> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source| TableError::Unusable { path, source }
    };
    let boot = boot_id().map_err(unusable(directory))?;
    let namespace = namespace().map_err(unusable(directory))?;
    let path = directory.join(format!("{PREFIX}{boot}-{namespace}{SUFFIX}"));
    let file = open_owned(&path)?;
    if !is_intact(&file).map_err(unusable(&path))? {
        build(&path, &file)?;
        remove_older(directory, &boot);
    }
    Ok((path, file))
}

const PREFIX: &str = "ports-";
const SUFFIX: &str = ".table";

/// The id of this boot: reservations end with it (random(4)).
fn boot_id() -> io::Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    match digits.len() {
        32 => Ok(digits),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "the kernel reports no boot id")),
    }
}

/// The inode of the network namespace, which has its own ports.
fn namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}

fn open_owned(path: &Path) -> Result<File, TableError> {
    let not_owned = || TableError::NotOwned { path: path.to_owned() };
    let opened = open_file(path, true);
    let file = opened.map_err(|source| match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP | Errno::EISDIR | Errno::ENXIO) => not_owned(),
        _ => TableError::Unusable { path: path.to_owned(), source },
    })?;
    let found =
        file.metadata().map_err(|source| TableError::Unusable { path: path.to_owned(), source })?;
    let owned = found.uid() == rustix::process::geteuid().as_raw();
    let alone = found.mode() & 0o077 == 0 && found.nlink() <= 1;
    match found.is_file() && owned && alone {
        true => Ok(file),
        false => Err(not_owned()),
    }
}

fn open_file(path: &Path, create: bool) -> io::Result<File> {
    // Does not follow symbolic links, and does not wait for the other end of a FIFO.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false);
    options.mode(0o600).custom_flags(flags).open(path)
}

fn is_intact(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.len() == LENGTH && read_header(file)? == HEADER)
}

/// Reads the first two words; an error if the file is shorter.
fn read_header(file: &File) -> io::Result<[u64; 2]> {
    let mut words = [[0; 8]; 2];
    file.read_exact_at(words.as_flattened_mut(), 0)?;
    Ok(words.map(u64::from_ne_bytes))
}

/// Builds the table unless another process has done so meanwhile or uses the file.
fn build(path: &Path, file: &File) -> Result<(), TableError> {
    let unusable = |source| TableError::Unusable { path: path.to_owned(), source };
    let tries = LOCK_TIMEOUT.as_millis() / BUILD_PAUSE.as_millis();
    for _ in 0..tries {
        // Sessions of a table that is built by now may keep the lock.
        if is_intact(file).map_err(unusable)? {
            return Ok(());
        }
        if lock::wait(file, INIT_LOCK, Kind::Exclusive, BUILD_PAUSE).map_err(unusable)? {
            return build_and_unlock(path, file);
        }
    }
    let holder = lock_holder::find(file, INIT_LOCK);
    Err(TableError::Busy { path: path.to_owned(), holder })
}

fn build_and_unlock(path: &Path, file: &File) -> Result<(), TableError> {
    let unusable = |source| TableError::Unusable { path: path.to_owned(), source };
    let built = build_locked(path, file);
    lock::unlock(file, INIT_LOCK).map_err(unusable)?;
    built
}

fn build_locked(path: &Path, file: &File) -> Result<(), TableError> {
    let unusable = |source| TableError::Unusable { path: path.to_owned(), source };
    if is_intact(file).map_err(unusable)? {
        return Ok(());
    }
    if has_sessions(path, file).map_err(unusable)? {
        return Err(in_use(path, file));
    }
    if file.metadata().map_err(unusable)?.len() > 0 {
        let path = path.display();
        warn!(%path, "Rebuilding damaged or outdated reservation table");
    }
    write_empty(file).map_err(unusable)
}

/// Why a table that other sessions use cannot be used by this version.
fn in_use(path: &Path, file: &File) -> TableError {
    let path = path.to_owned();
    match (read_header(file), HEADER) {
        (Ok([name, found]), [ours, expected]) if name == ours && found != expected => {
            TableError::OtherVersion { path, found, expected }
        }
        _ => TableError::Damaged { path },
    }
}

/// Writes zeros rather than extending the file, so that every slot has disk space. The header comes
/// last: a table whose building was interrupted is built again.
fn write_empty(file: &File) -> io::Result<()> {
    let zeros = vec![0; bytes(RECORDS) as usize];
    file.write_all_at(&zeros, 0)?;
    file.set_len(LENGTH)?;
    file.write_all_at(HEADER.map(u64::to_ne_bytes).as_flattened(), 0)
}

/// Whether a session lasts, be it by a child only.
fn has_sessions(path: &Path, file: &File) -> io::Result<bool> {
    if lock::is_locked(file, FIRST_SESSION_LOCK, SessionId::COUNT as u64)? {
        return Ok(true);
    }
    // A file that cannot be read counts as taken, so that no port is granted twice.
    Ok(share::files(path)?.iter().any(|session| share::is_taken(session).unwrap_or(true)))
}

/// Removes the tables of earlier boots from a directory that outlives a boot. A table with sessions
/// stays: another machine may share the directory.
fn remove_older(directory: &Path, boot: &str) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let older = name.strip_prefix(PREFIX).is_some_and(|rest| !rest.starts_with(boot));
        let unused = || open_file(&path, false).and_then(|file| has_sessions(&path, &file));
        if older && name.ends_with(SUFFIX) && matches!(unused(), Ok(false)) {
            let sessions = share::files(&path).unwrap_or_default();
            sessions.iter().chain([&path]).for_each(|file| _ = fs::remove_file(file));
        }
    }
}

const fn bytes(words: usize) -> u64 {
    words as u64 * 8
}

#[cfg(test)]
mod tests;

//! The table's file: where it is, what it looks like, and when it is made anew.
//!
//! It is never made shorter than the table while anybody may have it mapped, and never replaced by
//! another file while a session lasts: two tables would be two truths.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rustix::fs::OFlags;
use tracing::warn;

use crate::error::TableError;
use crate::lock::{self, Kind};
use crate::slot::SessionId;
use crate::table::PATIENCE;
use crate::{counts, rate_limit, record};

/// The first two words: what this is, and how it is laid out. A new layout gets a new number, and
/// a table with another number is not used.
pub(crate) const HEADER: [u64; 2] = [u64::from_be_bytes(*b"Portolan"), 4];
/// Where the epochs of the sessions begin, each of which stands there twice; the header has a page of its own.
pub(crate) const SESSIONS: usize = 512;
pub(crate) const SESSIONS_AGAIN: usize = SESSIONS + SessionId::COUNT;
/// Where the slots begin, and where their witnesses.
pub(crate) const SLOTS: usize = SESSIONS_AGAIN + SessionId::COUNT;
pub(crate) const WITNESSES: usize = SLOTS + PORTS;
/// Where the counts of leases begin, and where the rates of grants.
pub(crate) const COUNTS: usize = WITNESSES + PORTS;
pub(crate) const RATES: usize = COUNTS + counts::WORDS;
/// Where the records begin, at the beginning of a page.
pub(crate) const RECORDS: usize = (RATES + rate_limit::WORDS).next_multiple_of(PAGE as usize / 8);
/// How many pages the records have.
pub(crate) const RECORD_PAGES: usize = PORTS * record::WORDS * 8 / PAGE as usize;
/// How many words the table has. Most of the records have no disk space behind them.
pub(crate) const WORDS: usize = RECORDS + PORTS * record::WORDS;

const PORTS: usize = 1 << 16;
const PAGE: u64 = 4096;
/// How long the file is, in bytes.
pub(crate) const LENGTH: u64 = bytes(WORDS);

/// The byte that keeps the table as it is: exclusive while it is made, shared while a session
/// begins. It lies behind everything that the file could ever hold, as do the sessions' bytes. All
/// versions lock the same bytes, so that each sees the sessions of the others.
pub(crate) const INIT_LOCK: u64 = 1 << 40;
const FIRST_SESSION_LOCK: u64 = INIT_LOCK + 1;

const _: () = assert!(bytes(RECORDS).is_multiple_of(PAGE), "a record would lie on two pages");

/// The byte that stands for a session.
pub(crate) fn session_lock(index: u16) -> u64 {
    FIRST_SESSION_LOCK + u64::from(index)
}

/// Where the page begins that a port's record is on, and its number among the pages of records.
pub(crate) fn page_of_record(port: u16) -> (u64, usize) {
    let index = usize::from(port) * record::WORDS * 8 / PAGE as usize;
    (bytes(RECORDS) + index as u64 * PAGE, index)
}

/// Opens the table of this boot and network namespace, and makes it or mends it where needed.
pub(crate) fn open(folder: &Path) -> Result<(PathBuf, File), TableError> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source| TableError::Unusable { path, source }
    };
    let boot = boot_id().map_err(unusable(folder))?;
    let path =
        folder.join(format!("{PREFIX}{boot}-{}{SUFFIX}", namespace().map_err(unusable(folder))?));
    let file = open_ours(&path)?;
    if !is_whole(&file).map_err(unusable(&path))? {
        make(&path, &file)?;
        remove_older(folder, &boot);
    }
    Ok((path, file))
}

const PREFIX: &str = "ports-";
const SUFFIX: &str = ".table";

/// Reservations end with the boot that they were made in.
fn boot_id() -> io::Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    match digits.len() {
        32 => Ok(digits),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "the system tells no boot id")),
    }
}

/// Ports belong to a network namespace: a container's port 80 is not the host's.
fn namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}

fn open_ours(path: &Path) -> Result<File, TableError> {
    let not_ours = || TableError::NotOurs { path: path.to_owned() };
    let opened = open_file(path, true);
    let file = opened.map_err(|source| match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP | Errno::EISDIR | Errno::ENXIO) => not_ours(),
        _ => TableError::Unusable { path: path.to_owned(), source },
    })?;
    let found =
        file.metadata().map_err(|source| TableError::Unusable { path: path.to_owned(), source })?;
    let owned = found.uid() == rustix::process::geteuid().as_raw();
    let alone = found.mode() & 0o077 == 0 && found.nlink() <= 1;
    match found.is_file() && owned && alone {
        true => Ok(file),
        false => Err(not_ours()),
    }
}

fn open_file(path: &Path, create: bool) -> io::Result<File> {
    // Not following links, and not waiting for the other end of a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false);
    options.mode(0o600).custom_flags(flags).open(path)
}

fn is_whole(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.len() == LENGTH && read_header(file)? == HEADER)
}

/// The first two words; an error where there are none.
fn read_header(file: &File) -> io::Result<[u64; 2]> {
    let mut words = [[0; 8]; 2];
    file.read_exact_at(words.as_flattened_mut(), 0)?;
    Ok(words.map(u64::from_ne_bytes))
}

/// Makes the table, where nobody else has done so meanwhile and nobody uses what is there.
fn make(path: &Path, file: &File) -> Result<(), TableError> {
    let unusable = |source| TableError::Unusable { path: path.to_owned(), source };
    if !lock::wait(file, INIT_LOCK, Kind::Exclusive, PATIENCE).map_err(unusable)? {
        return Err(TableError::Busy { path: path.to_owned() });
    }
    let made = make_alone(path, file);
    lock::unlock(file, INIT_LOCK).map_err(unusable)?;
    made
}

fn make_alone(path: &Path, file: &File) -> Result<(), TableError> {
    let unusable = |source| TableError::Unusable { path: path.to_owned(), source };
    if is_whole(file).map_err(unusable)? {
        return Ok(());
    }
    if has_sessions(file).map_err(unusable)? {
        return Err(why_not(path, file));
    }
    if file.metadata().map_err(unusable)?.len() > 0 {
        let path = path.display();
        warn!(%path, "Table of reservations is damaged or of another version, and unused; making it anew");
    }
    write_empty(file).map_err(unusable)
}

/// Why a table that is in use cannot be.
fn why_not(path: &Path, file: &File) -> TableError {
    let path = path.to_owned();
    match (read_header(file), HEADER) {
        (Ok([name, found]), [ours, expected]) if name == ours && found != expected => {
            TableError::OtherVersion { path, found, expected }
        }
        _ => TableError::Damaged { path },
    }
}

/// Writes, rather than making the file longer, so that there is disk space behind every slot. The
/// header comes last: what was begun and not finished is begun again.
fn write_empty(file: &File) -> io::Result<()> {
    let zeros = vec![0; bytes(RECORDS) as usize];
    file.write_all_at(&zeros, 0)?;
    file.set_len(LENGTH)?;
    file.write_all_at(HEADER.map(u64::to_ne_bytes).as_flattened(), 0)
}

fn has_sessions(file: &File) -> io::Result<bool> {
    lock::is_locked(file, FIRST_SESSION_LOCK, SessionId::COUNT as u64)
}

/// Removes the tables of earlier boots, where the folder outlives a boot. One that somebody uses,
/// on another machine that shares the folder, stays.
fn remove_older(folder: &Path, boot: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let older = name.strip_prefix(PREFIX).is_some_and(|rest| !rest.starts_with(boot));
        let unused = || open_file(&path, false).and_then(|file| has_sessions(&file));
        if older && name.ends_with(SUFFIX) && matches!(unused(), Ok(false)) {
            _ = fs::remove_file(&path);
        }
    }
}

const fn bytes(words: usize) -> u64 {
    words as u64 * 8
}

#[cfg(test)]
mod tests;

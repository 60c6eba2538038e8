//! The record of a process that starts programs.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portolan_core::{Incarnation, Scope};
use portolan_host_facts::ProcessStat;
use serde::{Deserialize, Serialize};

/// The environment variable with the marker of a program.
pub(crate) const VARIABLE: &str = "PORTOLAN_RUN";
/// The directory of the records, in that of the reservation table.
const DIRECTORY: &str = "runs";
const SUFFIX: &str = "json";
/// How many records of ended owners are read. Each start removes those that have left nothing behind.
const MAX_RECORDS: usize = 4096;

/// What starts programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnerKind {
    /// `portolan run`.
    Run,
    /// `portolan up`.
    Up,
}

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) kind: OwnerKind,
    pub(super) pid: u32,
    /// When it started, in clock ticks since boot.
    pub(super) start_time: u64,
    pub(super) scope: Scope,
}

/// The record of this process, removed when the last copy is dropped.
#[derive(Debug, Clone)]
pub struct OwnerRecord(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    path: PathBuf,
    _locked: File,
    programs: AtomicU64,
}

/// What one program and all its descendants have in their environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker(String);

// === impl OwnerRecord ===

impl OwnerRecord {
    /// Creates the record of this process in the directory of the reservation table.
    pub fn create(runtime_directory: &Path, kind: OwnerKind, scope: Scope) -> io::Result<Self> {
        let directory = runtime_directory.join(DIRECTORY);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let pid = std::process::id();
        let stat = ProcessStat::read(pid).ok_or(io::ErrorKind::NotFound)?;
        let content = Content { kind, pid, start_time: stat.start_time, scope };
        let id = Incarnation::random().to_string();
        let path = directory.join(format!("{id}.{SUFFIX}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        // Before it has content, so that nobody takes it for that of an ended process.
        file.lock()?;
        serde_json::to_writer(&file, &content).map_err(io::Error::other)?;
        Ok(Self(Arc::new(Inner { id, path, _locked: file, programs: AtomicU64::new(0) })))
    }

    /// Returns the marker of the next program.
    pub(crate) fn next_marker(&self) -> Marker {
        let number = self.0.programs.fetch_add(1, Ordering::Relaxed);
        Marker(format!("{}.{number}", self.0.id))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.path);
    }
}

// === impl Marker ===

impl Marker {
    /// Returns the value of the environment variable.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the name of the record in the value of the environment variable.
pub(super) fn id_in(value: &str) -> &str {
    value.split_once('.').map_or(value, |(id, _)| id)
}

/// A record whose owner has ended.
#[derive(Debug)]
pub(super) struct Abandoned {
    pub(super) id: String,
    pub(super) content: Content,
    pub(super) path: PathBuf,
}

/// Returns the records of this user whose owners have ended.
pub(super) fn abandoned(runtime_directory: &Path) -> io::Result<Vec<Abandoned>> {
    let entries = match fs::read_dir(runtime_directory.join(DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.flatten().map(|entry| entry.path());
    // The limit is one of records: other files must not hide them.
    Ok(paths.filter_map(|path| read_abandoned(&path)).take(MAX_RECORDS).collect())
}

fn read_abandoned(path: &Path) -> Option<Abandoned> {
    let is_record = path.extension().is_some_and(|end| end == SUFFIX);
    let id = path.file_stem()?.to_str().filter(|_| is_record)?.to_owned();
    // Opening a FIFO would wait for a writer.
    let flags = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK);
    let flags = flags.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let found = file.metadata().ok()?;
    let own = rustix::process::geteuid().as_raw();
    if !found.is_file() || found.uid() != own || found.len() > 64 * 1024 {
        return None;
    }
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
    }
    let content = serde_json::from_reader(&file).ok()?;
    Some(Abandoned { id, content, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(start_time: u64) -> String {
        format!(r#"{{"kind":"up","pid":1,"start_time":{start_time},"scope":"default"}}"#)
    }

    #[test]
    fn only_unlocked_records_of_this_user_are_abandoned() {
        let folder = tempfile::tempdir().unwrap();
        let own = OwnerRecord::create(folder.path(), OwnerKind::Run, Scope::default()).unwrap();
        let runs = folder.path().join(DIRECTORY);
        fs::write(runs.join("left.json"), content(7)).unwrap();
        fs::write(runs.join("other.txt"), content(7)).unwrap();
        for (name, text) in
            [("empty.json", ""), ("list.json", "[1]"), ("deep.json", &"[".repeat(9999))]
        {
            fs::write(runs.join(name), text).unwrap();
        }
        fs::write(runs.join("large.json"), content(7) + &" ".repeat(70_000)).unwrap();
        fs::create_dir(runs.join("directory.json")).unwrap();
        std::os::unix::fs::symlink("left.json", runs.join("link.json")).unwrap();
        // Nobody writes to it.
        let fifo = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, runs.join("fifo.json"), fifo.0, fifo.1, 0).unwrap();
        let found = abandoned(folder.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(names, ["left"]);
        assert_eq!(found[0].content.start_time, 7);
        drop(own);
        assert_eq!(abandoned(folder.path()).unwrap().len(), 1, "it removes its record");
    }

    #[test]
    fn many_other_files_hide_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join(DIRECTORY);
        fs::create_dir(&runs).unwrap();
        for number in 0..=MAX_RECORDS {
            fs::write(runs.join(format!("{number}.txt")), "").unwrap();
        }
        fs::write(runs.join("left.json"), content(7)).unwrap();
        assert_eq!(abandoned(folder.path()).unwrap().len(), 1);
    }
}

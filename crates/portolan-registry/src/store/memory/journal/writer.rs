//! The writer: a thread that appends what the state has changed to the journal, with one synchronisation for all
//! that accumulated meanwhile.
//!
//! If a write fails, the changes that are not on the disk are undone, their callers get an error, and the store is
//! read-only until a new snapshot could be written.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::{Backoff, Remedy, Revision};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::frame;
use super::record::{Header, Record, Snapshot, VERSION};
use crate::store::memory::Shared;
use crate::store::memory::data_dir::{DataDir, FileKind};
use crate::store::memory::error::DataDirError;
use crate::store::memory::outbox::Batch;

/// The length of a journal from which a snapshot is written, unless the last snapshot was larger than half of it.
pub(crate) const JOURNAL: u64 = 16 << 20;
/// How often a store without changes checks that its files are still there.
const CHECK: Duration = Duration::from_secs(1);
/// The waits between attempts to write a snapshot while the store is read-only.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// Ends and joins the thread of a writer when it is dropped.
#[derive(Debug)]
pub(crate) struct WriterThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Writes the journal.
#[derive(Debug)]
pub(crate) struct Writer {
    dir: Arc<DataDir>,
    number: u64,
    /// The greatest number of a file that was written: that of a snapshot whose journal could not be.
    newest: u64,
    /// `None` if the file system is read-only since the start.
    file: Option<File>,
    /// The length of the journal up to the last complete batch.
    length: u64,
    /// The length that is known to be on the disk.
    synced: u64,
    /// When it was checked last that the files are still there.
    checked: Instant,
    snapshot_length: u64,
    /// The length of the journal from which a snapshot is written, if the last one was not larger.
    rotate_at: u64,
    snapshot: Option<JoinHandle<Option<u64>>>,
}

// === impl WriterThread ===

impl WriterThread {
    pub(crate) fn spawn(writer: Writer, shared: Arc<Shared>) -> io::Result<Self> {
        let (state, runtime) = (Arc::clone(&shared), Handle::current());
        let thread =
            std::thread::Builder::new().name("portolan-journal".into()).spawn(move || {
                // What is undone may set timers again, which belong to the runtime.
                let _runtime = runtime.enter();
                writer.run(&state);
            })?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Continues a journal after its intact part. The caller has locked the directory.
    pub(crate) fn open(
        dir: Arc<DataDir>,
        journal: Option<(u64, u64)>,
        revision: Revision,
        snapshot_length: u64,
    ) -> Result<Self, DataDirError> {
        let (number, length) = journal.unwrap_or((1, 0));
        let path = dir.file(FileKind::Journal, number);
        let failed = |source| DataDirError::io("write", &path, source);
        let (file, length) = match length {
            0 => create_journal(&dir, number, revision).map_err(failed)?,
            length => (append_to(&path, length).map_err(failed)?, length),
        };
        Ok(Self::new(dir, (number, length), Some(file), snapshot_length))
    }

    /// A writer whose journal cannot be written. It starts over with a snapshot.
    pub(crate) fn read_only(dir: Arc<DataDir>, journal: Option<(u64, u64)>) -> Self {
        Self::new(dir, journal.unwrap_or_default(), None, 0)
    }

    fn new(
        dir: Arc<DataDir>,
        (number, length): (u64, u64),
        file: Option<File>,
        snapshot_length: u64,
    ) -> Self {
        Self {
            dir,
            number,
            newest: number,
            file,
            length,
            synced: length,
            checked: Instant::now(),
            snapshot_length,
            rotate_at: JOURNAL,
            snapshot: None,
        }
    }

    /// Sets the length of the journal from which a snapshot is written.
    pub(crate) fn rotate_at(self, rotate_at: u64) -> Self {
        Self { rotate_at, ..self }
    }

    /// Continues in a new journal, because this one has an older format, to which nothing of this one may be added. What
    /// is not in it yet must not exist.
    pub(crate) fn upgrade(&mut self, snapshot: &Snapshot) -> Result<(), DataDirError> {
        let number = self.number + 1;
        let failed = |source| DataDirError::io("write to", self.dir.path(), source);
        let (file, length) =
            create_journal(&self.dir, number, snapshot.revision).map_err(failed)?;
        let snapshot_length = write_snapshot(&self.dir, number, snapshot).map_err(|source| {
            self.dir.discard_temporary(FileKind::Snapshot, number);
            failed(source)
        })?;
        remove_old(&self.dir, number);
        (self.number, self.newest, self.file) = (number, number, Some(file));
        (self.length, self.synced) = (length, length);
        self.snapshot_length = snapshot_length;
        Ok(())
    }

    /// Records that a server started.
    pub(crate) fn started(&mut self, revision: Revision) -> Result<(), DataDirError> {
        let path = self.dir.file(FileKind::Journal, self.number);
        let started = [Record::Started { revision }];
        self.append(&started, true).map_err(|source| DataDirError::io("write", &path, source))
    }

    fn run(mut self, shared: &Shared) {
        if self.file.is_none() {
            self.recover(shared);
        }
        while let Some(batch) = shared.wait_for_batch(CHECK) {
            match self.store(&batch.records, batch.needs_sync()) {
                Ok(()) => shared.confirm(batch),
                Err(error) => self.fail(shared, batch, &error),
            }
            if self.length > self.rotate_at.max(2 * self.snapshot_length) {
                self.rotate(shared);
            }
        }
        self.join_snapshot();
    }

    /// Stores records so that the next start finds them; none of them only checks the files.
    fn store(&mut self, records: &[Record], sync: bool) -> Result<(), DataDirError> {
        // What nobody waits for need not be checked each time.
        let is_checked = sync || self.checked.elapsed() >= CHECK;
        if is_checked {
            // Before it too: the directory may be another server's by now.
            self.check()?;
        }
        if !records.is_empty() {
            let path = self.dir.file(FileKind::Journal, self.number);
            let failed = |source| DataDirError::io("write", &path, source);
            self.append(records, sync).map_err(failed)?;
        }
        if is_checked {
            self.check()?;
            self.checked = Instant::now();
        }
        Ok(())
    }

    /// Checks that what is written will be found by the next start.
    fn check(&self) -> Result<(), DataDirError> {
        let Some(file) = &self.file else { return Ok(()) };
        let (found, written) = (self.dir.check(self.number, file)?, self.length);
        if found != written {
            let path = self.dir.file(FileKind::Journal, self.number);
            return Err(DataDirError::Overwritten { path, found, written });
        }
        Ok(())
    }

    /// Removes what was written after the last complete batch.
    fn cut(&self) {
        let Some(file) = &self.file else { return };
        // What another server has written must not be cut off, and an older copy must not be filled up with zeros.
        if self.dir.check(self.number, file).is_ok_and(|length| length > self.length) {
            _ = file.set_len(self.length);
        }
    }

    /// Appends records, and puts everything so far on the disk if `sync` is set.
    fn append(&mut self, records: &[Record], sync: bool) -> io::Result<()> {
        let (start, mut length) = (self.length, self.length);
        let (at, synced) = (Timestamp::now(), self.synced);
        // A `Batch`, whose records are added.
        let head = |written: u64| {
            let offset = start + written;
            format!(r#"{{"at":"{at}","synced":{synced},"offset":{offset},"records":["#).into()
        };
        let file = self.file.as_mut().ok_or(io::ErrorKind::ReadOnlyFilesystem)?;
        frame::encode_all(records, head, "]}", |line| {
            length += line.len() as u64;
            file.write_all(line)
        })?;
        if sync {
            file.sync_data()?;
        }
        self.length = length;
        self.synced = if sync { self.length } else { self.synced };
        Ok(())
    }

    // --- read-only

    /// Undoes what could not be written, and returns once a snapshot of the state could be.
    fn fail(&mut self, shared: &Shared, batch: Batch, error: &DataDirError) {
        warn!(error = %error.with_remedy(), "Journal cannot be written, the registry is read-only");
        // What was rejected must not come back with the next start.
        self.cut();
        shared.revert(batch, &error.to_string());
        self.recover(shared);
    }

    /// Retries to write a snapshot until it succeeds or the store is closed.
    fn recover(&mut self, shared: &Shared) {
        self.join_snapshot();
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST).jitter(0.2);
        while shared.is_open_after(backoff.next_wait()) {
            match self.start_over(shared) {
                Ok(()) => {
                    info!("Journal can be written again, the registry accepts writes");
                    return;
                }
                Err(error) => shared.stay_read_only(&error.to_string()),
            }
        }
    }

    /// Writes a snapshot of the state and continues in a journal of its own.
    fn start_over(&mut self, shared: &Shared) -> Result<(), DataDirError> {
        self.newest = self.newest.max(self.number);
        self.dir.reclaim(self.newest, (self.number, self.length))?;
        let dir = Arc::clone(&self.dir);
        let failed = |source| DataDirError::io("write to", dir.path(), source);
        let number = self.number + 1;
        let snapshot = shared.record_from_here();
        let (file, start) =
            prepare_journal(&self.dir, number, snapshot.revision).map_err(failed)?;
        // The snapshot gets its name first: without it, the journal would continue the failed one. Recovery knows
        // a snapshot whose journal does not have its name yet.
        let written = write_snapshot(&self.dir, number, &snapshot);
        let length = written.map_err(|source| {
            self.dir.discard_temporary(FileKind::Snapshot, number);
            failed(source)
        })?;
        self.newest = number;
        self.dir.publish(FileKind::Journal, number).map_err(failed)?;
        (self.number, self.file) = (number, Some(file));
        (self.length, self.synced) = (start, start);
        self.snapshot_length = length;
        remove_old(&self.dir, number);
        shared.accept_writes();
        Ok(())
    }

    // --- snapshots

    /// Continues in a new journal, and writes a snapshot of the state in which it begins in the background.
    fn rotate(&mut self, shared: &Shared) {
        if self.snapshot.as_ref().is_some_and(|snapshot| !snapshot.is_finished()) {
            return;
        }
        self.join_snapshot();
        let (batch, snapshot) = shared.take_batch_and_state();
        // All of it, before there is a journal after it.
        match self.store(&batch.records, true) {
            Ok(()) => shared.confirm(batch),
            Err(error) => return self.fail(shared, batch, &error),
        }
        let number = self.number + 1;
        match create_journal(&self.dir, number, snapshot.revision) {
            Ok((file, length)) => {
                (self.number, self.file) = (number, Some(file));
                (self.length, self.synced) = (length, length);
            }
            Err(error) => {
                // The old journal grows on; the next batch tries again.
                return warn!(%error, "New journal cannot be created");
            }
        }
        let dir = Arc::clone(&self.dir);
        let write = move || match write_snapshot(&dir, number, &snapshot) {
            Ok(length) => {
                remove_old(&dir, number);
                Some(length)
            }
            Err(error) => {
                dir.discard_temporary(FileKind::Snapshot, number);
                warn!(%error, "Snapshot cannot be written, the older journals are kept");
                None
            }
        };
        match std::thread::Builder::new().name("portolan-snapshot".into()).spawn(write) {
            Ok(thread) => self.snapshot = Some(thread),
            Err(error) => warn!(%error, "Snapshot thread cannot be started"),
        }
    }

    fn join_snapshot(&mut self) {
        let Some(snapshot) = self.snapshot.take() else { return };
        if let Ok(Some(length)) = snapshot.join() {
            self.snapshot_length = length;
        }
    }
}

/// Removes the files that a snapshot replaces. The journal before it is kept for its history.
fn remove_old(dir: &DataDir, snapshot: u64) {
    let first_journal = snapshot.saturating_sub(1);
    for (kind, first) in [(FileKind::Snapshot, snapshot), (FileKind::Journal, first_journal)] {
        if let Err(error) = dir.remove_before(kind, first) {
            warn!(%error, "Old file of the data directory cannot be removed");
        }
    }
}

fn header(kind: &str, revision: Revision, snapshot: Option<&Snapshot>) -> Vec<u8> {
    let portolan = kind.to_owned();
    let instances = snapshot.map(|snapshot| snapshot.instances.len());
    let settings = snapshot.map(|snapshot| snapshot.settings.len());
    frame::encode(&Header { portolan, version: VERSION, revision, instances, settings })
}

/// Creates a journal with its header. Returns its length too.
fn create_journal(dir: &DataDir, number: u64, revision: Revision) -> io::Result<(File, u64)> {
    let created = prepare_journal(dir, number, revision)?;
    dir.publish(FileKind::Journal, number)?;
    Ok(created)
}

/// The same under a temporary name.
fn prepare_journal(dir: &DataDir, number: u64, revision: Revision) -> io::Result<(File, u64)> {
    let mut file = dir.create_temporary(FileKind::Journal, number)?;
    let header = header("journal", revision, None);
    file.write_all(&header)?;
    file.sync_all()?;
    Ok((file, header.len() as u64))
}

/// Opens a journal and cuts off what follows its intact part.
fn append_to(path: &std::path::Path, length: u64) -> io::Result<File> {
    let file = File::options().append(true).open(path)?;
    if file.metadata()?.len() > length {
        file.set_len(length)?;
        file.sync_all()?;
    }
    Ok(file)
}

/// Writes a snapshot and returns its length.
fn write_snapshot(dir: &DataDir, number: u64, snapshot: &Snapshot) -> io::Result<u64> {
    let mut file = dir.create_temporary(FileKind::Snapshot, number)?;
    let header = header("snapshot", snapshot.revision, Some(snapshot));
    file.write_all(&header)?;
    let mut length = header.len() as u64;
    let mut write = |line: &[u8]| {
        length += line.len() as u64;
        file.write_all(line)
    };
    // Each is a `SnapshotLine`.
    frame::encode_all(&snapshot.instances, |_| "[".into(), "]", &mut write)?;
    frame::encode_all(&snapshot.settings, |_| r#"{"settings":["#.into(), "]}", &mut write)?;
    file.sync_all()?;
    dir.publish(FileKind::Snapshot, number)?;
    Ok(length)
}

//! Recovery: reads a data directory back into a state.
//!
//! A crash can tear the end of the newest journal: everything after the last synchronised length. Damage there is cut
//! off and reported, because nobody was told that it was committed. Damage anywhere else is an error, and so is an intact
//! line that is not where it was written.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::{Change, Revision, ServiceEndpoint, ServiceEvent, ServiceId};

use super::log_file::{Invalid, LogFile, Place};
use super::record::{
    Batch, Instance, PutKind, Record, RemoveKind, Snapshot, SnapshotLine, VERSION,
};
use crate::store::History;
use crate::store::memory::data_dir::{DataDir, FileKind};
use crate::store::memory::error::DataDirError;
use crate::store::memory::extension;
use crate::store::memory::settings::Records;
use crate::store::owner::Owner;

/// What a data directory contains.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) instances: HashMap<ServiceId, Instance>,
    /// The settings of services.
    pub(crate) settings: Records,
    /// The revision of the last change, or with which the last server started.
    pub(crate) revision: Revision,
    pub(crate) history: History,
    /// The newest journal and the length of its intact part; `None` if there is none.
    pub(crate) journal: Option<(u64, u64)>,
    /// Whether the newest journal has an older format, in which nothing must be appended.
    pub(crate) is_outdated: bool,
    /// The length of the newest snapshot.
    pub(crate) snapshot_length: u64,
    /// The torn end that is cut off.
    pub(crate) torn: Option<TornEnd>,
    /// When the last line was written.
    at: Timestamp,
}

/// The end of a journal that a crash has torn.
#[derive(Debug)]
pub(crate) struct TornEnd {
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
}

/// Reads a directory. Keeps at most `history` changes.
pub(crate) fn recover(dir: &DataDir, history: usize) -> Result<Recovered, DataDirError> {
    let (snapshot, mut needed) = numbers(dir)?;
    if let (Some(snapshot), true) = (snapshot, needed.is_empty()) {
        // The server ended before the journal of the snapshot had its name.
        if !dir.finish(FileKind::Journal, snapshot)? {
            return Err(DataDirError::Missing { path: dir.file(FileKind::Journal, snapshot) });
        }
        needed.push(snapshot);
    }
    dir.remove_temporary();
    replay(dir, snapshot, &needed, history)
}

/// Reads a directory that this process has not locked, and changes nothing. A journal that has no name yet has no
/// changes.
pub(crate) fn read(dir: &DataDir) -> Result<Recovered, DataDirError> {
    let (snapshot, needed) = numbers(dir)?;
    replay(dir, snapshot, &needed, 0)
}

/// The newest snapshot, and the journals from there on.
fn numbers(dir: &DataDir) -> Result<(Option<u64>, Vec<u64>), DataDirError> {
    let snapshot = dir.numbers(FileKind::Snapshot)?.pop();
    let mut journals = dir.numbers(FileKind::Journal)?;
    journals.retain(|number| *number >= snapshot.unwrap_or(1));
    Ok((snapshot, journals))
}

fn replay(
    dir: &DataDir,
    snapshot: Option<u64>,
    needed: &[u64],
    history: usize,
) -> Result<Recovered, DataDirError> {
    let first = snapshot.unwrap_or(1);
    for (expected, number) in (first..).zip(needed) {
        if expected != *number {
            return Err(DataDirError::Missing { path: dir.file(FileKind::Journal, expected) });
        }
    }
    let mut replay = match snapshot {
        Some(number) => read_snapshot(&dir.file(FileKind::Snapshot, number))?,
        None => Recovered::default(),
    };
    let begin = replay.revision;
    let mut events = VecDeque::new();
    for number in needed {
        let is_newest = Some(number) == needed.last();
        let length =
            replay.read_journal(&dir.file(FileKind::Journal, *number), is_newest, &mut events)?;
        replay.journal = Some((*number, length));
        replay.history.shorten(&mut events, history);
    }
    if let Some(number) = snapshot
        && replay.history.since == begin
        && events.len() < history
    {
        let limit = history - events.len();
        let earlier = earlier_history(dir, number, begin, limit);
        replay.history.since = earlier.since;
        replay.history.gaps.splice(..0, earlier.gaps);
        earlier.events.into_iter().rev().for_each(|event| events.push_front(event));
    }
    replay.history.events = events.into();
    Ok(replay)
}

impl Recovered {
    /// A server starts at this time: extends each lease by the time in which no server ran, up to its TTL, once
    /// until it is renewed.
    pub(crate) fn start(&mut self, at: Timestamp, revision: Revision) {
        let down = Duration::try_from(at.duration_since(self.at)).unwrap_or_default();
        self.instances.values_mut().for_each(|instance| instance.extend(at, down));
        if revision > self.revision {
            self.history.gaps.push((self.revision, revision));
            self.revision = revision;
        }
        self.at = at;
    }

    /// What a snapshot has of it.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let instances = self.instances.values().cloned().collect();
        let settings = self.settings.values().cloned().collect();
        Snapshot { revision: self.revision, instances, settings }
    }

    /// Replays a journal and returns the length of its intact part.
    fn read_journal(
        &mut self,
        path: &Path,
        may_be_torn: bool,
        events: &mut VecDeque<Arc<ServiceEvent>>,
    ) -> Result<u64, DataDirError> {
        let mut lines = LogFile::open(path)?;
        let header = lines.header("journal")?;
        self.is_outdated = header.version < VERSION;
        if self.revision == Revision::default() {
            self.history.since = header.revision;
        }
        self.revision = self.revision.max(header.revision);
        let mut damage: Option<(u64, DataDirError)> = None;
        lines.read_all(|Place { offset, line }, batch: Result<Batch, _>| {
            damage = match (batch, damage.take()) {
                (Ok(batch), Some((torn_at, error))) if batch.synced > torn_at => {
                    return Err(error);
                }
                (Ok(batch), None) => {
                    if let Some(problem) = batch.misplaced(offset) {
                        let path = path.to_owned();
                        return Err(DataDirError::Damaged { path, line, problem });
                    }
                    self.replay(batch, events);
                    None
                }
                (Err(Invalid { error, last }), None) => {
                    let is_synced = last.is_some_and(|batch| batch.synced > offset);
                    if !may_be_torn || is_synced {
                        return Err(error);
                    }
                    Some((offset, error))
                }
                (_, torn) => torn,
            };
            Ok(())
        })?;
        let length = lines.offset();
        let intact = damage.map_or(length, |(torn_at, _)| torn_at);
        if intact < length {
            self.torn = Some(TornEnd { path: path.to_owned(), length: length - intact });
        }
        Ok(intact)
    }

    fn replay(&mut self, batch: Batch, events: &mut VecDeque<Arc<ServiceEvent>>) {
        for record in batch.records {
            match record {
                Record::Started { revision } => self.start(batch.at, revision),
                record => events.extend(self.apply(record).map(Arc::new)),
            }
        }
        self.at = batch.at;
    }

    /// Applies a record, and returns the event that it was for watches.
    fn apply(&mut self, record: Record) -> Option<ServiceEvent> {
        let (revision, change) = match record {
            Record::Started { .. } => return None,
            Record::Renew { id, at } => {
                self.instances.get_mut(&id)?.renew(at);
                return None;
            }
            Record::Settings(record) => {
                self.settings.insert(record.key.clone(), record);
                return None;
            }
            Record::Remove { kind, endpoint, revision } => {
                self.instances.remove(&endpoint.id);
                let change = match kind {
                    RemoveKind::Deregistered => Change::Deregistered { endpoint },
                    RemoveKind::Expired => Change::Expired { endpoint },
                };
                (revision, change)
            }
            Record::Put { kind, endpoint, owner, kept, until } => {
                let known = self.instances.remove(&endpoint.id);
                let mut instance = Instance::new(Arc::clone(&endpoint), owner, known.as_ref());
                instance.kept = kept;
                if let Some(until) = until {
                    instance.protect(until);
                }
                self.instances.insert(endpoint.id.clone(), instance);
                let revision = endpoint.revision;
                let change = match kind {
                    PutKind::Registered => Change::Registered { endpoint },
                    PutKind::Updated => Change::Updated { endpoint },
                    PutKind::Health => Change::Health { endpoint },
                    PutKind::Renewed => return None,
                };
                (revision, change)
            }
        };
        self.revision = self.revision.max(revision);
        Some(ServiceEvent { revision, change })
    }
}

// === impl Instance ===

impl Instance {
    /// An instance that is stored after what was known of it. Its lease is renewed with its heartbeat.
    fn new(endpoint: Arc<ServiceEndpoint>, owner: Owner, known: Option<&Self>) -> Self {
        let same_lease = |known: &&Self| known.endpoint.last_heartbeat == endpoint.last_heartbeat;
        let (ends, extended, protected) = match known.filter(same_lease) {
            Some(known) => (known.ends, known.extended, known.protected),
            None => (lease_end(&endpoint), false, false),
        };
        Self { endpoint, owner, ends, extended, kept: None, protected, overdue: false }
    }

    fn renew(&mut self, at: Timestamp) {
        Arc::make_mut(&mut self.endpoint).last_heartbeat = at;
        self.ends = lease_end(&self.endpoint);
        self.extended = false;
        self.protected = false;
    }

    /// It is kept until then, and no longer.
    fn protect(&mut self, until: Timestamp) {
        self.ends = until;
        self.extended = true;
        self.protected = true;
    }

    fn extend(&mut self, now: Timestamp, down: Duration) {
        if self.extended {
            return;
        }
        self.overdue = self.ends <= now;
        let left = Duration::try_from(self.ends.duration_since(now)).unwrap_or_default();
        let past = Duration::try_from(now.duration_since(self.ends)).unwrap_or_default();
        self.ends = later(now, extension(self.endpoint.ttl, left, past, down));
        self.extended = true;
    }
}

fn lease_end(endpoint: &ServiceEndpoint) -> Timestamp {
    later(endpoint.last_heartbeat, endpoint.ttl.duration())
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

// --- files

/// The changes in the journal before the newest snapshot, which is kept for that. None if it is not there or
/// not intact: watches then get a snapshot.
fn earlier_history(dir: &DataDir, snapshot: u64, revision: Revision, limit: usize) -> History {
    let lost = History { since: revision, ..History::default() };
    let Some(number) = snapshot.checked_sub(1) else { return lost };
    let (mut earlier, mut events) = (Recovered::default(), VecDeque::new());
    match earlier.read_journal(&dir.file(FileKind::Journal, number), false, &mut events) {
        Ok(_) if earlier.revision == revision => {
            let mut history = earlier.history;
            history.shorten(&mut events, limit);
            history.events = events.into();
            history
        }
        _ => lost,
    }
}

impl History {
    /// Drops the oldest events beyond the limit.
    fn shorten(&mut self, events: &mut VecDeque<Arc<ServiceEvent>>, limit: usize) {
        let surplus = events.len().saturating_sub(limit);
        if let Some(dropped) = events.drain(..surplus).next_back() {
            self.since = dropped.revision;
        }
    }
}

fn read_snapshot(path: &Path) -> Result<Recovered, DataDirError> {
    let mut lines = LogFile::open(path)?;
    let header = lines.header("snapshot")?;
    let mut recovered = Recovered { revision: header.revision, ..Recovered::default() };
    recovered.history.since = header.revision;
    // Not more than a file can have, whatever the header says.
    recovered.instances.reserve(header.instances.unwrap_or_default().min(lines.most_instances()));
    lines.read_all(|_, line: Result<SnapshotLine, _>| {
        match line.map_err(|invalid| invalid.error)? {
            SnapshotLine::Instances(instances) => {
                for instance in instances {
                    recovered.at = recovered.at.max(instance.endpoint.last_heartbeat);
                    recovered.instances.insert(instance.endpoint.id.clone(), instance);
                }
            }
            SnapshotLine::Settings(records) => {
                let records = records.into_iter().map(|record| (record.key.clone(), record));
                recovered.settings.extend(records);
            }
        }
        Ok(())
    })?;
    let found = recovered.instances.len();
    if let Some(expected) = header.instances.filter(|expected| *expected != found) {
        let problem = format!("the file ends after {found} of {expected} instances");
        return Err(lines.damaged(problem));
    }
    let found = recovered.settings.len();
    if let Some(expected) = header.settings.filter(|expected| *expected != found) {
        let problem = format!("the file ends after the settings of {found} of {expected} services");
        return Err(lines.damaged(problem));
    }
    recovered.snapshot_length = lines.offset();
    Ok(recovered)
}

#[cfg(test)]
mod tests;

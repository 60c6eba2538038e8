//! Finds the processes that a killed Portolan has left behind.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use portolan_core::Scope;
use portolan_host_facts::{ProcessStat, descendants, processes_with};

use super::record::{self, OwnerKind, VARIABLE};

/// A process that was left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its process id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// What has started it.
    pub owner: OwnerKind,
    /// The process id that its owner had.
    pub owner_pid: u32,
    /// The scope of its owner.
    pub scope: Scope,
    /// Whether this command runs below it, so that it would end itself.
    pub runs_this_command: bool,
    pub(super) start_time: u64,
}

/// What killed Portolans have left behind.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// The processes, ordered by id.
    pub processes: Vec<Leftover>,
    /// The records without a process.
    finished: Vec<PathBuf>,
}

// === impl Leftovers ===

impl Leftovers {
    /// Removes the records of those that have left nothing behind.
    pub fn forget_finished(&self) {
        for path in &self.finished {
            _ = std::fs::remove_file(path);
        }
    }
}

/// Finds the processes of ended runs whose records are in the directory of the reservation table.
pub fn find(runtime_directory: &Path) -> io::Result<Leftovers> {
    let abandoned = record::abandoned(runtime_directory)?;
    if abandoned.is_empty() {
        return Ok(Leftovers::default());
    }
    let by_id: HashMap<&str, _> =
        abandoned.iter().map(|record| (record.id.as_str(), record)).collect();
    let ancestors = ancestors_of_this_process();
    let (mut found, mut met) = (BTreeMap::new(), HashSet::new());
    for (pid, marker) in processes_with(VARIABLE) {
        let Some(record) = by_id.get(record::id_in(&marker)) else { continue };
        let Some(stat) = ProcessStat::read(pid).filter(ProcessStat::is_running) else { continue };
        if stat.start_time < record.content.start_time {
            continue;
        }
        met.insert(record.id.as_str());
        for (pid, stat) in std::iter::once((pid, stat)).chain(descendants(pid)) {
            let leftover = Leftover {
                pid,
                command: command_line(pid),
                owner: record.content.kind,
                owner_pid: record.content.pid,
                scope: record.content.scope.clone(),
                runs_this_command: ancestors.contains(&pid),
                start_time: stat.start_time,
            };
            found.entry(pid).or_insert(leftover);
        }
    }
    let own = std::process::id();
    found.remove(&own);
    let finished = abandoned.iter().filter(|record| !met.contains(record.id.as_str()));
    let finished = finished.map(|record| record.path.clone()).collect();
    Ok(Leftovers { processes: found.into_values().collect(), finished })
}

fn ancestors_of_this_process() -> HashSet<u32> {
    let parent = |pid: &u32| ProcessStat::read(*pid).and_then(|stat| stat.parent);
    std::iter::successors(Some(std::process::id()), parent).collect()
}

fn command_line(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ")
}

//! Ends processes that were left behind.

use std::io;
use std::path::Path;
use std::time::Duration;

use portolan_host_facts::{ProcessStat, processes_with};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::find::{Leftover, Leftovers, find};
use super::record::{Marker, VARIABLE};
use crate::shim::end::{signal_descendants, signal_process};

/// How long a killed process may take to be gone.
const KILLED: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(20);

/// A process that was left behind, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The process.
    pub process: Leftover,
    /// Whether it has ended.
    pub has_ended: bool,
    /// Whether SIGKILL was necessary.
    pub was_killed: bool,
}

/// Sends SIGTERM to what was left behind, and SIGKILL to what still runs after the grace period. Processes that run this command stay.
pub async fn end(runtime_directory: &Path, grace: Duration) -> io::Result<Vec<Ended>> {
    let found = find(runtime_directory)?;
    found.forget_finished();
    let mut ended: Vec<Ended> = found.processes.into_iter().map(Ended::new).collect();
    signal_all(&ended, Signal::TERM);
    // A stopped process acts on no other signal.
    signal_all(&ended, Signal::CONT);
    wait(&mut ended, grace).await;
    ended.iter_mut().for_each(|it| it.was_killed = it.may_end() && !it.has_ended);
    signal_all(&ended, Signal::KILL);
    wait(&mut ended, KILLED).await;
    let left: Leftovers = find(runtime_directory)?;
    left.forget_finished();
    let new = left
        .processes
        .into_iter()
        .filter(|it| ended.iter().all(|known| known.process.pid != it.pid));
    let new: Vec<Ended> = new.map(Ended::new).collect();
    ended.extend(new);
    Ok(ended)
}

/// Kills every process with the marker, and its descendants.
pub(crate) fn kill_marked(marker: &Marker) {
    for (pid, found) in processes_with(VARIABLE) {
        if found == marker.as_str()
            && let Some(stat) = ProcessStat::read(pid)
        {
            signal_descendants(pid, Signal::KILL);
            signal_process(pid, stat.start_time, Signal::KILL);
        }
    }
}

fn signal_all(ended: &[Ended], signal: Signal) {
    for it in ended.iter().filter(|it| it.may_end() && !it.has_ended) {
        signal_process(it.process.pid, it.process.start_time, signal);
    }
}

async fn wait(ended: &mut [Ended], limit: Duration) {
    let deadline = Instant::now() + limit;
    loop {
        for it in ended.iter_mut() {
            it.has_ended = it.has_ended || !it.process.is_running();
        }
        if Instant::now() >= deadline || ended.iter().all(|it| it.has_ended || !it.may_end()) {
            return;
        }
        sleep(INTERVAL).await;
    }
}

// === impl Ended ===

impl Ended {
    fn new(process: Leftover) -> Self {
        Self { process, has_ended: false, was_killed: false }
    }

    fn may_end(&self) -> bool {
        !self.process.runs_this_command
    }
}

// === impl Leftover ===

impl Leftover {
    fn is_running(&self) -> bool {
        let stat = ProcessStat::read(self.pid);
        stat.is_some_and(|stat| stat.start_time == self.start_time && stat.is_running())
    }
}

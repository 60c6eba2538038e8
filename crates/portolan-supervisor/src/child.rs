//! A program that runs: how it is started with its lease, and how it is stopped.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child as Process, ChildStderr, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use crate::CommandLine;
pub(crate) use caller::{Call, Caller};
pub(crate) use inheritance::FIRST_SOCKET;
pub use inheritance::Inheritance;
pub(crate) use listener::{Family, Listener};

mod caller;
mod group;
mod inheritance;
mod listener;

/// How often we look whether a group that was asked to end is gone; nobody tells us.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How to start a program.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What to start.
    pub command: CommandLine,
    /// Variables added to the environment that the program inherits.
    pub environment: BTreeMap<String, String>,
    /// Where it starts; here, where none is said.
    pub directory: Option<PathBuf>,
    /// Where its output goes and whose signals it gets.
    pub terminal: Terminal,
}

/// How a program stands to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// It has our input and output, and gets the terminal's Ctrl-C itself: it may be interactive.
    Shared,
    /// It has our input and output and a process group of its own, which we signal as a whole.
    OwnGroup,
    /// No input, its output through pipes, a process group of its own.
    Captured,
}

/// A program that was started.
#[derive(Debug)]
pub struct Child {
    process: Process,
    pid: Option<Pid>,
    own_group: bool,
    family: Option<Family>,
    hurry: CancellationToken,
}

// === impl Launch ===

impl Launch {
    /// Starts the program with what it inherits.
    pub fn start(&self, inheritance: &Inheritance<'_>) -> io::Result<Child> {
        let mut prepared = inheritance.prepare(self)?;
        self.furnish(&mut prepared.command);
        let process = prepared.command.spawn()?;
        let pid = process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (own_group, hurry) = (self.terminal != Terminal::Shared, CancellationToken::new());
        Ok(Child { process, pid, own_group, family: pid.map(Family::new), hurry })
    }

    fn furnish(&self, command: &mut Command) {
        command.args(self.command.arguments()).envs(&self.environment);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if self.terminal != Terminal::Shared {
            command.process_group(0);
        }
        if self.terminal == Terminal::Captured {
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        }
    }
}

// === impl Child ===

impl Child {
    /// Its process id; none once it has been waited for.
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Its output, where it is captured; once.
    pub fn output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.process.stdout.take(), self.process.stderr.take())
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// The processes that belong to it; none where it was gone at once.
    pub(crate) fn family(&self) -> Option<Family> {
        self.family.clone()
    }

    /// Cancelled by whoever will not wait for the grace of [`Child::stop`] any longer.
    pub fn hurry(&self) -> CancellationToken {
        self.hurry.clone()
    }

    /// Asks it to end with SIGTERM, and ends it with SIGKILL where it is still there after the
    /// grace. With a process group of its own, all that it started is asked and ended too, and has
    /// the same grace: a shell ends at once, and the server that it started still has to save.
    pub async fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        let hurry = self.hurry.clone();
        let in_time = hurry.run_until_cancelled(tokio::time::timeout(grace, self.all_ended()));
        if !matches!(in_time.await, Some(Ok(()))) {
            self.signal(Signal::KILL);
        }
        self.process.wait().await
    }

    async fn all_ended(&mut self) {
        // An error would come again, and be told, where its status is asked for.
        _ = self.process.wait().await;
        if let Some(group) = self.pid.filter(|_| self.own_group) {
            while group::is_running(group) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let still_there = self.process.id().is_some();
        match self.pid.filter(|_| still_there) {
            Some(pid) if !self.own_group => _ = rustix::process::kill_process(pid, signal),
            _ => self.signal_group(signal),
        }
    }

    /// A group that is gone, or never was ours, is nothing to report.
    fn signal_group(&self, signal: Signal) {
        if let Some(pid) = self.pid.filter(|_| self.own_group) {
            _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

/// The status that a shell reports for this end: the code itself, or 128 and the signal's number.
pub fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests;

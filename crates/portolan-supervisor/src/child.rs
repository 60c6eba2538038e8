//! A child process: started with the file descriptors of its leases, stopped with a grace period.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use portolan_host_facts::{ProcessStat, child_processes};
use rustix::process::{Pid, Signal};
use tokio::process::{Child as Process, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::StopSignal;
use crate::leftovers::{Marker, kill_marked};
use crate::shim::end::signal_descendants;
pub(crate) use accept_probe::{AcceptProbe, ProbeState};
use exit_watch::ExitWatch;
pub(crate) use exit_watch::raw_status;
pub(crate) use fd_passing::FIRST_SOCKET;
pub use fd_passing::InheritedFds;
pub use launch::{Launch, Terminal};
pub(crate) use process_tree::{ListenerOwner, ProcessTree};
pub use pty::{Pty, WindowSize};
use shim_link::ShimLink;

mod accept_probe;
mod exit_watch;
mod fd_passing;
mod launch;
mod process_group;
mod process_tree;
mod pty;
mod shim_link;

/// Poll interval for the end of a process group; the kernel sends no notification for it.
const REFRESH_INTERVAL: Duration = Duration::from_millis(20);

/// How long a shim may take to end what is left and itself.
const SHIM_END: Duration = Duration::from_secs(4);

/// A child process.
#[derive(Debug)]
pub struct Child {
    process: Process,
    pid: Option<Pid>,
    /// The shim, which then is `process`.
    link: Option<ShimLink>,
    exit: Option<ExitWatch>,
    own_group: bool,
    process_tree: Option<ProcessTree>,
    skip_grace: CancellationToken,
    pty: Option<Pty>,
    /// Open as long as the program may read from it.
    _stdin: Option<ChildStdin>,
    marker: Option<Marker>,
}

// === impl Child ===

impl Child {
    /// Returns the process id; `None` after the process has been stopped.
    pub fn pid(&self) -> Option<u32> {
        match &self.link {
            Some(link) => self
                .pid
                .filter(|_| link.keeps_number())
                .map(|pid| pid.as_raw_nonzero().get().cast_unsigned()),
            None => self.process.id(),
        }
    }

    /// Returns stdout and stderr if they are captured. The second call returns `None`.
    pub fn output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.process.stdout.take(), self.process.stderr.take())
    }

    /// Returns the terminal of the program if it has one of its own.
    pub fn pty(&self) -> Option<Pty> {
        self.pty.clone()
    }

    /// Returns what is notified when a signal has stopped the program, while [`Child::wait`] is waited for; `None` without a shim.
    pub fn stopped(&self) -> Option<Arc<Notify>> {
        self.link.as_ref().map(ShimLink::stopped)
    }

    /// Waits until the process has exited. It stays a zombie until it is stopped or dropped, so that no other
    /// process or group gets its number while it may be signalled.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(link) = &mut self.link {
            if let Some(status) = link.exited().await? {
                return Ok(status);
            }
            // The shim was killed, and cannot end what it has started.
            self.signal(Signal::KILL);
            self.marker.iter().for_each(kill_marked);
            return self.process.wait().await;
        }
        if let Some(exit) = &self.exit
            && let Some(status) = exit.wait().await?
        {
            return Ok(status);
        }
        self.process.wait().await
    }

    /// Returns the processes that belong to the program; `None` if it exited at once.
    pub(crate) fn process_tree(&self) -> Option<ProcessTree> {
        self.process_tree.clone()
    }

    /// Returns a token that ends the grace period of [`Child::stop`] when it is cancelled.
    pub fn skip_grace(&self) -> CancellationToken {
        self.skip_grace.clone()
    }

    /// Sends the signal to the program alone, as a person does. Errors are ignored: it may be gone already.
    pub fn forward(&self, signal: Signal) {
        match (&self.exit, self.pid.filter(|_| self.pid().is_some())) {
            (Some(exit), Some(_)) => exit.signal(signal),
            (None, Some(pid)) => _ = rustix::process::kill_process(pid, signal),
            _ => {}
        }
    }

    /// Sends the stop signal, waits up to `grace`, then sends SIGKILL. If the program has its own process
    /// group, both signals go to the whole group and the grace period lasts until the group is
    /// empty: a shell exits at once, while the server it started still saves its data.
    pub async fn stop(&mut self, signal: StopSignal, grace: Duration) -> io::Result<ExitStatus> {
        self.signal(signal.signal());
        let skip_grace = self.skip_grace.clone();
        let in_time =
            skip_grace.run_until_cancelled(tokio::time::timeout(grace, self.all_exited()));
        if !matches!(in_time.await, Some(Ok(()))) {
            self.kill_all();
        }
        self.end_shim().await
    }

    /// Kills the program and its descendants, which may be in other groups.
    fn kill_all(&self) {
        self.signal(Signal::KILL);
        if let (Some(_), Some(shim)) = (&self.link, self.process.id()) {
            signal_descendants(shim, Signal::KILL);
        }
    }

    /// Returns the status of the program, and lets go of its number.
    async fn end_shim(&mut self) -> io::Result<ExitStatus> {
        let Some(link) = &mut self.link else { return self.process.wait().await };
        let status = link.exited().await?;
        link.release();
        // It ends within its own limits, unless somebody has stopped it.
        if tokio::time::timeout(SHIM_END, self.process.wait()).await.is_err() {
            self.process.start_kill()?;
        }
        let of_shim = self.process.wait().await?;
        Ok(status.unwrap_or(of_shim))
    }

    /// Returns whether processes of the program go on that have left its process group, or its process.
    pub(crate) fn has_left_processes(&self) -> bool {
        let (Some(_), Some(shim)) = (&self.link, self.process.id()) else { return false };
        let program = self.pid();
        child_processes(shim).into_iter().any(|child| Some(child) != program)
    }

    async fn all_exited(&mut self) {
        // The caller's own wait returns the same error.
        _ = self.wait().await;
        if let Some(group) = self.pid.filter(|_| self.own_group) {
            while !self.is_alone() && process_group::is_running(group) {
                tokio::time::sleep(REFRESH_INTERVAL).await;
            }
        }
        self.descendants_exited().await;
    }

    /// Returns whether the program has ended and is the only child of its shim, so that nothing of it goes on. `false` if the kernel does not
    /// tell.
    fn is_alone(&self) -> bool {
        let (Some(_), Some(shim), Some(program)) = (&self.link, self.process.id(), self.pid())
        else {
            return false;
        };
        // A zombie has no children, and those of its descendants that have lost their parents are children of the shim. In this order: a
        // program that ends in between passes its children on to the shim.
        let is_zombie = ProcessStat::read(program).is_some_and(|stat| !stat.is_running());
        is_zombie && child_processes(shim) == [program]
    }

    /// Ends what the program has left in other groups and sessions, and waits for its end.
    async fn descendants_exited(&self) {
        let (Some(_), Some(shim)) = (&self.link, self.process.id()) else { return };
        // Orphans are children of the shim.
        if self.has_left_processes() && signal_descendants(shim, Signal::TERM) {
            while self.has_left_processes() {
                tokio::time::sleep(REFRESH_INTERVAL).await;
            }
        }
    }

    /// Errors are ignored: the process may be gone already.
    fn signal(&self, signal: Signal) {
        // Without a pidfd the group can only be named by its number.
        let is_named = match &self.link {
            Some(link) => link.keeps_number(),
            None => self.process.id().is_some() || self.exit.is_none(),
        };
        match (self.pid.filter(|_| is_named), &self.exit) {
            (Some(group), _) if self.own_group => {
                _ = rustix::process::kill_process_group(group, signal);
            }
            (Some(_), Some(exit)) => exit.signal(signal),
            (Some(pid), None) if self.pid().is_some() => {
                _ = rustix::process::kill_process(pid, signal);
            }
            _ => {}
        }
    }
}

/// Returns the exit status in the form that shells report: the exit code, or 128 plus the signal
/// number.
pub fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests;

//! Watches a child by its pidfd (pidfd_open(2)), which names this process only, also after its id is used again.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus};
use tokio::io::unix::AsyncFd;

/// The pidfd of a child, which is readable once the child has exited.
#[derive(Debug)]
pub(super) struct ExitWatch(AsyncFd<OwnedFd>);

// === impl ExitWatch ===

impl ExitWatch {
    /// Opens the pidfd of a child that was not waited for; `None` if the kernel, before 5.4, cannot wait by it.
    #[allow(deprecated, reason = "sound for an `OwnedFd`; the replacement is unsafe code")]
    pub(super) fn open(pid: Pid) -> Option<Self> {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let watch = Self(AsyncFd::new(pidfd).ok()?);
        watch.status().is_ok().then_some(watch)
    }

    /// Waits until the process has exited, and leaves it a zombie. `None` if it was waited for before.
    pub(super) async fn wait(&self) -> io::Result<Option<ExitStatus>> {
        loop {
            let mut ready = self.0.readable().await?;
            match self.status() {
                Ok(Some(status)) => return Ok(Some(exit_status(&status))),
                Ok(None) => ready.clear_ready(),
                Err(Errno::CHILD) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a signal to the process alone. Errors are ignored: it may be gone already.
    pub(super) fn signal(&self, signal: Signal) {
        _ = rustix::process::pidfd_send_signal(self.0.get_ref(), signal);
    }

    fn status(&self) -> Result<Option<WaitIdStatus>, Errno> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        rustix::process::waitid(WaitId::PidFd(self.0.get_ref().as_fd()), options)
    }
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    ExitStatus::from_raw(raw_status(status))
}

/// Returns the status in the format of wait(2).
pub(crate) fn raw_status(status: &WaitIdStatus) -> i32 {
    let core = if status.dumped() { 0x80 } else { 0 };
    match status.terminating_signal() {
        Some(signal) => signal | core,
        None => status.exit_status().unwrap_or_default() << 8,
    }
}

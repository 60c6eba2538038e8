//! The pipes to the shim of a program.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Launch;
use crate::shim::ShimCommand;

/// How long a shim may take to start its program, on the slowest machine.
const START: Duration = Duration::from_secs(30);
/// The longest report, with its line ending.
const REPORT: usize = 64;

/// The ends that Portolan keeps.
#[derive(Debug)]
pub(super) struct ShimLink {
    /// Closed to end what is left of the program; the kernel closes it if Portolan is killed.
    life: Option<PipeWriter>,
    report: AsyncFd<PipeReader>,
    received: Vec<u8>,
    status: Option<ExitStatus>,
    stopped: Arc<Notify>,
}

/// The ends that the shim gets.
#[derive(Debug)]
pub(super) struct ShimEnds {
    life: PipeReader,
    report: PipeWriter,
}

// === impl ShimLink ===

impl ShimLink {
    #[allow(deprecated, reason = "sound for a pipe that it owns; the replacement is unsafe code")]
    pub(super) fn new() -> io::Result<(Self, ShimEnds)> {
        let ((life, kept), (report, reporting)) = (io::pipe()?, io::pipe()?);
        rustix::io::ioctl_fionbio(&report, true)?;
        let (life_end, report) = (Some(kept), AsyncFd::new(report)?);
        let (received, status, stopped) = (Vec::new(), None, Arc::default());
        let link = Self { life: life_end, report, received, status, stopped };
        Ok((link, ShimEnds { life, report: reporting }))
    }

    /// Waits until the program runs, and returns its process id.
    pub(super) async fn started(&mut self) -> io::Result<Pid> {
        let report = timeout(START, self.report()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let report = report.ok_or_else(|| io::Error::other("the shim of the program has ended"))?;
        let (word, number) = report.split_once(' ').unwrap_or_default();
        let number: i32 = number.parse().unwrap_or_default();
        match (word, Pid::from_raw(number)) {
            ("started", Some(pid)) => Ok(pid),
            ("failed", Some(_)) => Err(io::Error::from_raw_os_error(number)),
            _ => Err(io::Error::other("cannot start the shim of the program")),
        }
    }

    /// Waits until the program has exited; `None` if the shim was killed. Cancel-safe.
    pub(super) async fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        while self.status.is_none() {
            let Some(report) = self.report().await? else { return Ok(None) };
            if report == "stopped" {
                self.stopped.notify_one();
            }
            let raw = report.strip_prefix("exited ").and_then(|raw| raw.parse().ok());
            self.status = raw.map(ExitStatus::from_raw);
        }
        Ok(self.status)
    }

    /// Waits for the next report; `None` if the shim has ended. Cancel-safe.
    async fn report(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(report) = self.next_report() {
                return Ok(Some(report));
            }
            let mut ready = self.report.readable().await?;
            ready.clear_ready();
            drop(ready);
            match self.receive() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns what is notified when a signal has stopped the program, while [`ShimLink::exited`] is waited for.
    pub(super) fn stopped(&self) -> Arc<Notify> {
        self.stopped.clone()
    }

    /// Has the shim end what is left of the program, and itself.
    pub(super) fn release(&mut self) {
        self.life = None;
    }

    /// Returns whether the shim keeps the number of the program from being used again.
    pub(super) fn keeps_number(&self) -> bool {
        self.life.is_some()
    }

    fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = [0; REPORT];
        let count = self.report.get_ref().read(&mut bytes)?;
        self.received.extend_from_slice(&bytes[..count]);
        Ok(count > 0)
    }

    fn next_report(&mut self) -> Option<String> {
        let end = self.received.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.received.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

// === impl ShimEnds ===

impl ShimEnds {
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.life.as_fd(), self.report.as_fd()]
    }
}

/// Returns the arguments of a shim with these descriptors.
pub(super) fn arguments(
    shim: &ShimCommand,
    [life, report]: [RawFd; 2],
    launch: &Launch,
) -> Vec<OsString> {
    let options = ["--life", &life.to_string(), "--report", &report.to_string(), "--group"]
        .map(OsString::from);
    let arguments = shim.arguments.iter().cloned().chain(options);
    let arguments = arguments.chain([launch.group().to_string().into()]);
    let terminal = launch.has_own_terminal().then(|| "--terminal".into());
    let arguments = arguments.chain(terminal);
    let ids = launch.account.iter().flat_map(|it| [("--uid", it.user), ("--gid", it.group)]);
    let ids = ids.filter_map(|(option, id)| Some([option.to_owned(), id?.to_string()]));
    arguments.chain(ids.flatten().map(OsString::from)).chain(["--".into()]).collect()
}

/// Returns the numbers of the descriptors.
pub(super) fn numbers(fds: &[std::os::fd::OwnedFd]) -> [RawFd; 2] {
    [fds[0].as_raw_fd(), fds[1].as_raw_fd()]
}

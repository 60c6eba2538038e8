//! File descriptor passing: listening sockets as in sd_listen_fds(3), and descriptors that keep
//! leases alive.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use command_fds::{CommandFdExt, FdMapping};
use portolan_port_allocator::SessionShare;
use rustix::fs::Access;
use rustix::io::Errno;
use tokio::process::Command;

use super::Launch;
use super::shim_link::{self, ShimEnds};
use crate::shim::ShimCommand;

/// The first inherited socket (sd_listen_fds(3)).
pub(crate) const FIRST_SOCKET: RawFd = 3;
/// The first descriptor that keeps a lease. Scripts use single digits themselves (`exec 3>log`).
const FIRST_KEPT: RawFd = 10;

/// The shell that runs [`SET_LISTEN_PID`].
const SHELL: &str = "/bin/sh";
/// Sets `LISTEN_PID` to the process id, which is known only after fork(2) and does not change at
/// execve(2). The shell drops variables whose names are not valid in a shell.
const SET_LISTEN_PID: &str = r#"LISTEN_PID=$$; export LISTEN_PID; exec "$@""#;

/// The file descriptors that a program inherits.
#[derive(Debug, Default)]
pub struct InheritedFds<'a> {
    /// Listening sockets with their names, from descriptor 3 on, in this order.
    pub sockets: Vec<(String, BorrowedFd<'a>)>,
    /// What keeps the leases until the program and all its descendants have exited. No other process may have a
    /// copy: the program could unlock it.
    pub share: Option<SessionShare>,
    /// Sockets that keep the ports as long.
    pub kept: Vec<BorrowedFd<'a>>,
    /// Whether the program does not get `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`, because an argument names its
    /// sockets.
    pub without_environment: bool,
}

/// A command, and the descriptors that must stay open in this process until it is spawned.
#[derive(Debug)]
pub(super) struct PreparedCommand {
    pub(super) command: Command,
    _occupied: Vec<OwnedFd>,
}

// === impl InheritedFds ===

impl InheritedFds<'_> {
    /// Sets whether accept(2) blocks. This is a property of the socket, shared by all its
    /// descriptors.
    pub(crate) fn set_blocking(&self, blocking: bool) -> io::Result<()> {
        let mut sockets = self.sockets.iter();
        sockets.try_for_each(|(_, socket)| Ok(rustix::io::ioctl_fionbio(socket, !blocking)?))
    }

    /// Returns a command that passes the descriptors to the program. In this process they are all
    /// close-on-exec, so that a program started at the same time does not inherit them.
    pub(super) fn prepare(
        &self,
        launch: &Launch,
        shim: Option<(&ShimCommand, &ShimEnds)>,
    ) -> io::Result<PreparedCommand> {
        let first_kept = FIRST_KEPT.max(FIRST_SOCKET.saturating_add_unsigned(self.count()));
        let copy = |fd: &BorrowedFd<'_>| Ok(rustix::io::fcntl_dupfd_cloexec(fd, first_kept)?);
        let kept = self.share.iter().map(AsFd::as_fd).chain(self.kept.iter().copied());
        let mut kept = kept.map(|fd| copy(&fd)).collect::<io::Result<Vec<OwnedFd>>>()?;
        let mut words = self.words(launch);
        let mut command = match shim {
            None => Command::new(words.remove(0)),
            Some((shim, ends)) => {
                // The shim would report it later.
                find_program(launch)?;
                let ends = ends.descriptors().iter().map(copy).collect::<io::Result<Vec<_>>>()?;
                let mut command = Command::new(&shim.program);
                command.args(shim_link::arguments(shim, shim_link::numbers(&ends), launch));
                kept.extend(ends);
                command
            }
        };
        command.args(words);
        if self.passes_environment() {
            // The shell would report a missing program only through its exit status.
            find_program(launch)?;
            let names: Vec<&str> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
            command.env("LISTEN_FDS", self.count().to_string());
            command.env("LISTEN_FDNAMES", names.join(":"));
        }
        command.preserved_fds(kept);
        let sockets = self.sockets.iter().map(|(_, socket)| copy(socket));
        let mapping = |(child_fd, socket): (RawFd, io::Result<OwnedFd>)| {
            Ok(FdMapping { parent_fd: socket?, child_fd })
        };
        let mappings = (FIRST_SOCKET..).zip(sockets).map(mapping).collect::<io::Result<_>>()?;
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        Ok(PreparedCommand { command, _occupied: self.occupy(first_kept)? })
    }

    fn count(&self) -> u32 {
        self.sockets.len().try_into().unwrap_or(u32::MAX)
    }

    fn passes_environment(&self) -> bool {
        !self.sockets.is_empty() && !self.without_environment
    }

    /// Returns what is executed.
    fn words(&self, launch: &Launch) -> Vec<String> {
        let shell = [SHELL, "-c", SET_LISTEN_PID, "sh"].map(str::to_owned);
        let shell = shell.into_iter().filter(|_| self.passes_environment());
        shell.chain(launch.command.words().iter().cloned()).collect()
    }

    /// Occupies every free descriptor number below `below`. Otherwise a descriptor that the spawn
    /// itself needs, such as the pipe that reports the result of execve(2), could be where a socket
    /// goes.
    fn occupy(&self, below: RawFd) -> io::Result<Vec<OwnedFd>> {
        let mut occupied: Vec<OwnedFd> = Vec::new();
        let Some((_, socket)) = self.sockets.first() else { return Ok(occupied) };
        loop {
            let next = rustix::io::fcntl_dupfd_cloexec(socket, FIRST_SOCKET)?;
            if std::os::fd::AsRawFd::as_raw_fd(&next) >= below {
                return Ok(occupied);
            }
            occupied.push(next);
        }
    }
}

/// Checks that the program exists and is executable, looked up like exec(3) does.
fn find_program(launch: &Launch) -> io::Result<()> {
    let program = launch.command.program();
    let folder = launch.directory.as_deref().unwrap_or(Path::new(""));
    let check = |path: &Path| rustix::fs::access(folder.join(path), Access::EXEC_OK);
    if program.contains('/') {
        return Ok(check(Path::new(program))?);
    }
    let path = launch.environment.get("PATH").map(Into::into).or_else(|| std::env::var_os("PATH"));
    let path = path.unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut found = std::env::split_paths(&path).map(|place| check(&place.join(program)));
    match found.any(|found| found.is_ok()) {
        true => Ok(()),
        false => Err(Errno::NOENT.into()),
    }
}

//! What a program inherits beside its input and output: sockets to serve on, where sd_listen_fds(3)
//! looks for them, and descriptors that keep its leases.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::Access;
use rustix::io::Errno;
use tokio::process::Command;

use super::Launch;

/// Where inherited sockets begin (sd_listen_fds(3)).
pub(crate) const FIRST_SOCKET: RawFd = 3;
/// What keeps a lease is out of the way of scripts, which name single digits (`exec 3>log`).
const FIRST_KEPT: RawFd = 10;

/// `LISTEN_PID` must be the program's own id, which is known only once the process is there, and
/// exec(2) keeps it. A shell passes on all variables but those that it could not name itself.
const SHELL: &str = "/bin/sh";
const WITH_OWN_ID: &str = r#"LISTEN_PID=$$; export LISTEN_PID; exec "$@""#;

/// The descriptors that a program inherits.
#[derive(Debug, Default)]
pub struct Inheritance<'a> {
    /// Sockets to serve on, each with its name: 3 and those after it, in this order.
    pub sockets: Vec<(String, BorrowedFd<'a>)>,
    /// What keeps its leases, until it and all that it started are gone.
    pub kept: Vec<BorrowedFd<'a>>,
}

/// Everything that must stay open in this process until the program is started.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) command: Command,
    _occupied: Vec<OwnedFd>,
}

// === impl Inheritance ===

impl Inheritance<'_> {
    /// Sets whether accept(2) waits on the sockets, which is a property of the socket and so the
    /// same for all who have it.
    pub(crate) fn block(&self, blocking: bool) -> io::Result<()> {
        let mut sockets = self.sockets.iter();
        sockets.try_for_each(|(_, socket)| Ok(rustix::io::ioctl_fionbio(socket, !blocking)?))
    }

    /// A command that starts the program with all of it. In this process every descriptor stays
    /// closed on exec, so that no other program that is started meanwhile inherits it too.
    pub(super) fn prepare(&self, launch: &Launch) -> io::Result<Prepared> {
        let first_kept = FIRST_KEPT.max(FIRST_SOCKET.saturating_add_unsigned(self.count()));
        let mut command = match self.sockets.is_empty() {
            true => Command::new(launch.command.program()),
            false => self.through_shell(launch)?,
        };
        let copy = |fd: &BorrowedFd<'_>| Ok(rustix::io::fcntl_dupfd_cloexec(fd, first_kept)?);
        command.preserved_fds(self.kept.iter().map(copy).collect::<io::Result<_>>()?);
        let sockets = self.sockets.iter().map(|(_, socket)| copy(socket));
        let mapping = |(child_fd, socket): (RawFd, io::Result<OwnedFd>)| {
            Ok(FdMapping { parent_fd: socket?, child_fd })
        };
        let mappings = (FIRST_SOCKET..).zip(sockets).map(mapping).collect::<io::Result<_>>()?;
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        Ok(Prepared { command, _occupied: self.occupy(first_kept)? })
    }

    fn count(&self) -> u32 {
        self.sockets.len().try_into().unwrap_or(u32::MAX)
    }

    fn through_shell(&self, launch: &Launch) -> io::Result<Command> {
        // The shell would tell it by its exit status alone.
        look_for(launch)?;
        let names: Vec<&str> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
        let mut command = Command::new(SHELL);
        command.args(["-c", WITH_OWN_ID, "sh", launch.command.program()]);
        command.env("LISTEN_FDS", self.count().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        Ok(command)
    }

    /// Copies at every number that is free below that one, so that no other descriptor that this
    /// start needs, such as the one that tells us how exec(2) went, is where a socket will go.
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

/// Whether the program is there and may be executed, looked for as exec(3) does.
fn look_for(launch: &Launch) -> io::Result<()> {
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

//! `portolan ports hold`: the lease holder, a process that `ports alloc` starts. It holds one lease
//! until the owner ends or the lease is released.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use clap::Args;
use portolan_port_allocator::PortLease;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::alloc::{HolderResponse, RELEASED, address_of};
use super::port_args::PortArgs;
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

/// Options of `portolan ports hold`.
#[derive(Debug, Args)]
pub(super) struct Hold {
    #[command(flatten)]
    arguments: HoldArgs,
}

/// The lease to hold, and its owner.
#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    #[command(flatten)]
    pub(super) port: PortArgs,
    /// Process that owns the lease
    #[arg(long)]
    pub(super) owner: u32,
}

// === impl HoldArgs ===

impl HoldArgs {
    pub(super) fn to_arguments(&self) -> Vec<String> {
        let owner = self.owner.to_string();
        let own = ["ports", "hold", "--owner", &owner].map(String::from);
        own.into_iter().chain(self.port.to_arguments()).collect()
    }
}

// === impl Hold ===

impl Hold {
    /// Blocks until the lease has ended. A signal may end the process at any time: the kernel then
    /// releases the lease.
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        match self.arguments.lease(context) {
            Ok((lease, held)) => {
                output::json(&held.response)?;
                close_output().map_err(Failure::failed)?;
                let released_by = held.until_ended().map_err(Failure::failed)?;
                lease.release();
                released_by.into_iter().for_each(confirm);
            }
            Err(Failure { exit, message, remedy }) => {
                output::json(&HolderResponse::Failed { exit: exit.code(), message, remedy })?;
            }
        }
        Ok(Exit::Done)
    }
}

/// The response for the caller, and the two events that end the lease.
struct HeldLease {
    response: HolderResponse,
    owner: OwnedFd,
    releases: UnixListener,
}

impl HoldArgs {
    fn lease(&self, context: &Context) -> Result<(PortLease, HeldLease), Failure> {
        let owner = watch_process(self.owner).map_err(|error| {
            let owner = self.owner;
            Failure::failed(format_args!("no process {owner} to own the lease: {error}"))
        })?;
        let lease = context.allocator()?.request(self.port.request(context))?;
        let name = uuid::Uuid::new_v4().simple().to_string();
        let releases = address_of(&name).and_then(|address| UnixListener::bind_addr(&address));
        let releases = releases.map_err(Failure::failed)?;
        let response =
            HolderResponse::Held { port: lease.port(), lease: name, pid: std::process::id() };
        Ok((lease, HeldLease { response, owner, releases }))
    }
}

// === impl HeldLease ===

impl HeldLease {
    /// Waits until the owner has ended, or a process of this user asks for the release, whose connection is returned.
    fn until_ended(self) -> io::Result<Option<UnixStream>> {
        loop {
            let mut wakers = [
                PollFd::new(&self.owner, PollFlags::IN),
                PollFd::new(&self.releases, PollFlags::IN),
            ];
            match poll(&mut wakers, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let [owner, release] = wakers.map(|waker| !waker.revents().is_empty());
            if owner {
                return Ok(None);
            }
            if release
                && let Ok((stream, _)) = self.releases.accept()
                && is_same_user(&stream)
            {
                return Ok(Some(stream));
            }
        }
    }
}

/// Tells the process that has asked for the release. It waits for the end of its connection, too, which is closed by the
/// end of this process.
fn confirm(mut stream: UnixStream) {
    // It may have ended meanwhile.
    _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(&[RELEASED]));
    std::mem::forget(stream);
}

/// Opens a pidfd (pidfd_open(2)), which is readable once the process has ended. It cannot refer to
/// another process that reuses the pid.
fn watch_process(pid: u32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether the peer belongs to this user: any process of the network namespace can connect.
fn is_same_user(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// Closes the output: `$(portolan ports alloc …)` reads until the last writer of its pipe is closed.
fn close_output() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}

//! `portolan ports hold`: the process that `ports alloc` leaves behind. It holds one lease until
//! its owner ends or somebody who has the lease says so.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use clap::Args;
use portolan_port_allocator::PortLease;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::alloc::{Answer, address_of};
use super::wish::Wish;
use crate::context::Context;
use crate::exit::{Ending, Exit, Failure};
use crate::output;

/// Options of `portolan ports hold`.
#[derive(Debug, Args)]
pub(super) struct Hold {
    #[command(flatten)]
    arguments: HoldArgs,
}

/// What to hold, and for whom.
#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    #[command(flatten)]
    pub(super) wish: Wish,
    /// The process for which the lease is held
    #[arg(long)]
    pub(super) owner: u32,
}

// === impl HoldArgs ===

impl HoldArgs {
    pub(super) fn to_arguments(&self) -> Vec<String> {
        let owner = self.owner.to_string();
        let own = ["ports", "hold", "--owner", &owner].map(String::from);
        own.into_iter().chain(self.wish.to_arguments()).collect()
    }
}

// === impl Hold ===

impl Hold {
    /// Blocks until the lease is over. A signal may end it at any time: what it holds, the kernel
    /// takes back.
    pub(super) fn run(&self, context: &Context) -> Ending {
        match self.arguments.lease(context) {
            Ok((lease, held)) => {
                output::json(&held.answer)?;
                let_go_of_output().map_err(Failure::failed)?;
                held.until_ended().map_err(Failure::failed)?;
                lease.release();
            }
            Err(Failure { exit, message }) => {
                output::json(&Answer::Refused { exit: exit.code(), message })?;
            }
        }
        Ok(Exit::Done)
    }
}

/// What is told of a lease, and who may end it.
struct Held {
    answer: Answer,
    owner: OwnedFd,
    asked: UnixListener,
}

impl HoldArgs {
    fn lease(&self, context: &Context) -> Result<(PortLease, Held), Failure> {
        let owner = watch_process(self.owner).map_err(|error| {
            let owner = self.owner;
            Failure::failed(format_args!(
                "there is no process {owner} to hold the lease for: {error}"
            ))
        })?;
        let lease = context.allocator()?.request(self.wish.request(context))?;
        let name = uuid::Uuid::new_v4().simple().to_string();
        let asked = address_of(&name).and_then(|address| UnixListener::bind_addr(&address));
        let asked = asked.map_err(Failure::failed)?;
        let answer = Answer::Held { port: lease.port(), lease: name, pid: std::process::id() };
        Ok((lease, Held { answer, owner, asked }))
    }
}

// === impl Held ===

impl Held {
    /// Waits until the owner has ended, or one of our own user asks. Whoever asks is answered by
    /// the end of the connection, which comes with the end of this process: after the lease's.
    fn until_ended(self) -> io::Result<()> {
        loop {
            let mut wakers =
                [PollFd::new(&self.owner, PollFlags::IN), PollFd::new(&self.asked, PollFlags::IN)];
            match poll(&mut wakers, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let [owner, asked] = wakers.map(|waker| !waker.revents().is_empty());
            if owner {
                return Ok(());
            }
            if asked
                && let Ok((stream, _)) = self.asked.accept()
                && is_ours(&stream)
            {
                // Leaked on purpose: it is closed by our end, and not before.
                std::mem::forget(stream);
                return Ok(());
            }
        }
    }
}

/// A pidfd (pidfd_open(2)) is readable once its process has ended: no pid is looked up twice, so
/// none can be mistaken for another.
fn watch_process(pid: u32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Any process of this namespace may connect; only our own user is heard.
fn is_ours(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// `$(portolan ports alloc …)` reads until the last copy of its pipe is closed.
fn let_go_of_output() -> io::Result<()> {
    let nothing = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(rustix::stdio::dup2_stderr(&nothing)?)
}

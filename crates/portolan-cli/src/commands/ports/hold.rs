//! `portolan ports hold`: the process that `ports alloc` leaves behind. It holds one lease until
//! its owner ends or somebody who has the lease says so.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;

use clap::Args;
use portolan_core::{ServiceName, port};
use portolan_port_allocator::{Depth, PortLease, PortRequest};
use rustix::process::{Pid, PidfdFlags};
use tokio::io::unix::AsyncFd;
use tokio::net::{UnixListener, UnixStream};

use super::alloc::{Answer, address_of};
use crate::context::Context;
use crate::exit::{Ending, Exit, Failure};
use crate::{output, shutdown};

/// Options of `portolan ports hold`.
#[derive(Debug, Args)]
pub(super) struct Hold {
    #[command(flatten)]
    arguments: HoldArgs,
}

/// What to hold, and for whom.
#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    /// The service that the port is for
    pub(super) name: ServiceName,
    /// The port it would like
    #[arg(long, value_parser = port::parse)]
    pub(super) preferred: Option<u16>,
    /// The pool its port comes from
    #[arg(long)]
    pub(super) pool: Option<String>,
    /// The process for which the lease is held
    #[arg(long)]
    pub(super) owner: u32,
}

// === impl HoldArgs ===

impl HoldArgs {
    pub(super) fn to_arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["ports", "hold"].map(String::from).into();
        let mut option = |name: &str, value: Option<String>| {
            arguments.extend(value.into_iter().flat_map(|value| [format!("--{name}"), value]));
        };
        option("preferred", self.preferred.map(|port| port.to_string()));
        option("pool", self.pool.clone());
        option("owner", Some(self.owner.to_string()));
        arguments.push(self.name.to_string());
        arguments
    }
}

// === impl Hold ===

impl Hold {
    pub(super) async fn run(self, context: &Context) -> Ending {
        match self.arguments.lease(context) {
            Ok((lease, held, owner)) => {
                output::json(&held.answer)?;
                let_go_of_output().map_err(Failure::failed)?;
                held.until_ended(owner).await;
                lease.release();
            }
            Err(Failure { exit, message }) => {
                output::json(&Answer::Refused { exit: exit.code(), message })?;
            }
        }
        Ok(Exit::Done)
    }
}

struct Held {
    answer: Answer,
    asked: UnixListener,
}

impl HoldArgs {
    fn lease(
        &self,
        context: &Context,
    ) -> Result<(PortLease, Held, AsyncFd<std::os::fd::OwnedFd>), Failure> {
        let owner = watch_process(self.owner).map_err(|error| {
            Failure::failed(format_args!(
                "there is no process {} to hold the lease for: {error}",
                self.owner
            ))
        })?;
        let mut request =
            PortRequest::new(self.name.clone()).scope(context.scope.clone()).depth(Depth::Guarded);
        if let Some(preferred) = self.preferred {
            request = request.preferred(preferred);
        }
        if let Some(pool) = &self.pool {
            request = request.pool(pool);
        }
        if let Ok(folder) = std::env::current_dir() {
            request = request.folder(folder);
        }
        let lease = context.allocator()?.request(request)?;
        let name = uuid::Uuid::new_v4().simple().to_string();
        let asked = listen_for(&name).map_err(Failure::failed)?;
        let answer = Answer::Held { port: lease.port(), lease: name, pid: std::process::id() };
        Ok((lease, Held { answer, asked }, owner))
    }
}

// === impl Held ===

impl Held {
    async fn until_ended(self, owner: AsyncFd<std::os::fd::OwnedFd>) {
        let Ok(mut stop) = shutdown::requested() else { return };
        tokio::select! {
            _ = owner.readable() => {}
            () = asked_by_us(&self.asked) => {}
            () = stop.wait() => {}
        }
    }
}

/// A pidfd (pidfd_open(2)) is readable once its process has ended: no pid is looked up twice, so
/// none can be mistaken for another.
fn watch_process(pid: u32) -> io::Result<AsyncFd<std::os::fd::OwnedFd>> {
    let pid = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    Ok(AsyncFd::register(rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?)?)
}

fn listen_for(lease: &str) -> io::Result<UnixListener> {
    let listener = StdUnixListener::bind_addr(&address_of(lease)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Any process of this namespace may connect; only our own user is heard.
async fn asked_by_us(asked: &UnixListener) {
    loop {
        let Ok((stream, _)) = asked.accept().await else { continue };
        if is_ours(&stream) {
            return;
        }
    }
}

fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

/// `$(portolan ports alloc …)` reads until the last copy of its pipe is closed.
fn let_go_of_output() -> io::Result<()> {
    let nothing = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(rustix::stdio::dup2_stderr(&nothing)?)
}

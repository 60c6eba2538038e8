//! `portolan ports alloc` and `release`: a lease that outlives the command that took it.
//!
//! A lease lasts as long as its owner lives, and a command that prints a port is gone at once. So
//! it leaves a small process behind that holds the lease (`ports hold`) for as long as the owner
//! lives, which is the shell or script that called us unless it names another. The lease itself is
//! a name that cannot be guessed; whoever has it can end the lease.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::hold::HoldArgs;
use super::owner;
use super::wish::Wish;
use crate::context::Context;
use crate::exit::{Ending, Exit, Failure};
use crate::output;

/// How long the holder may take to answer. It does what we would do ourselves, so this is long.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer of a holder, in bytes: an error may name every holder of a range.
const LONGEST_ANSWER: u64 = 1024 * 1024;

pub(super) const AFTER_HELP: &str = "\
A guarded port is for a program on this host that binds it by its number: strangers are kept off \
until it does. A claimed port is for what binds it out of our reach, such as a container: no other \
Portolan process gets it, but a stranger may. Once it is started, `portolan ports check PORT` \
tells who listens there.";

/// Options of `portolan ports alloc`.
#[derive(Debug, Args)]
pub(super) struct Alloc {
    #[command(flatten)]
    wish: Wish,
    /// The process for which the lease is held [default: the shell or program that called us]
    #[arg(long, value_name = "PID")]
    owner: Option<u32>,
}

/// Options of `portolan ports release`.
#[derive(Debug, Args)]
pub(super) struct Release {
    /// The lease, as `ports alloc` told it with --json or on standard error
    lease: String,
}

/// What a holder answers when it has tried.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Answer {
    /// It holds this port under this lease.
    Held { port: u16, lease: String, pid: u32 },
    /// It got none.
    Refused { exit: u8, message: String },
}

// === impl Alloc ===

impl Alloc {
    pub(super) async fn run(self, context: &Context) -> Ending {
        let owner = self.owner.unwrap_or_else(owner::owner);
        let hold = HoldArgs { wish: self.wish, owner };
        match start_holder(context, &hold).await? {
            held @ Answer::Held { .. } if context.json => output::json(&held)?,
            Answer::Held { port, lease, .. } => {
                if !context.quiet {
                    output::note(format_args!("lease {lease}, held until process {owner} ends"));
                }
                output::line(port)?;
            }
            Answer::Refused { exit, message } => {
                return Err(Failure::new(Exit::from_code(exit), message));
            }
        }
        Ok(Exit::Done)
    }
}

async fn start_holder(context: &Context, hold: &HoldArgs) -> Result<Answer, Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure::failed(format_args!("cannot {what} the process that holds the lease: {error}"))
    };
    let program = std::env::current_exe().map_err(|error| failed("find", &error))?;
    let mut holder = Command::new(program)
        .args(context.repeated_options())
        .args(hold.to_arguments())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it logs while it starts is for our caller; later it has nothing to say.
        .stderr(Stdio::inherit())
        .process_group(0)
        .spawn()
        .map_err(|error| failed("start", &error))?;
    let Some(stdout) = holder.stdout.take() else {
        return Err(failed("read from", &"it has no output"));
    };
    let mut line = String::new();
    let mut answers = BufReader::new(stdout).take(LONGEST_ANSWER);
    let read = timeout(PATIENCE, answers.read_line(&mut line)).await;
    match read {
        Ok(Ok(_)) => serde_json::from_str(&line).map_err(|error| failed("understand", &error)),
        Ok(Err(error)) => Err(failed("read from", &error)),
        Err(_) => {
            _ = holder.start_kill();
            Err(failed("wait for", &"it took more than 10s"))
        }
    }
}

// === impl Release ===

impl Release {
    pub(super) async fn run(self, context: &Context) -> Ending {
        let lease = self.lease.clone();
        let released = tokio::task::spawn_blocking(move || end_lease(&lease)).await;
        match released.map_err(Failure::failed)? {
            Ok(()) if context.json => output::json(&serde_json::json!({ "released": self.lease }))?,
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err(Failure::failed(format_args!(
                    "there is no lease {:?}; it may have ended with its owner. A lease is the \
                     name that `ports alloc` printed, not the port",
                    self.lease
                )));
            }
            Err(error) => {
                return Err(Failure::failed(format_args!("cannot end the lease: {error}")));
            }
        }
        Ok(Exit::Done)
    }
}

/// Where a holder waits to be told. An abstract name, unix(7): it leaves no file behind, and is
/// seen in the same network namespace as the port itself.
pub(super) fn address_of(lease: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("portolan-lease-{lease}"))
}

/// Connecting asks the holder to let go; it closes the connection when it has.
fn end_lease(lease: &str) -> io::Result<()> {
    let mut holder = UnixStream::connect_addr(&address_of(lease)?)?;
    holder.set_read_timeout(Some(PATIENCE))?;
    io::copy(&mut holder, &mut io::sink()).map(drop)
}

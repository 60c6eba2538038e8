//! `portolan ports alloc` and `release`: a lease that outlives the command.
//!
//! A lease ends with its owner, and `ports alloc` ends at once. It therefore starts a lease holder
//! (`ports hold`), which holds the lease until the process in `--owner` ends: by default the shell or
//! script that called `ports alloc`. The lease is named by a random token, which `release` takes.

use std::io::{self, Read as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use portolan_core::quoted;
use portolan_host_facts::user_name;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::lease_holder::HoldArgs;
use super::owner;
use super::port_args::PortArgs;
use crate::context::{Context, withheld_variables};
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

/// The timeout for the lease holder to respond, in which it allocates the port.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of a response, in bytes: an error may name the holder of every port of a range.
const MAX_RESPONSE: u64 = 1024 * 1024;

pub(super) const AFTER_HELP: &str = "\
A guarded port is for a program on this host that binds it by its number: a guard socket keeps other \
programs off until then. A claimed port is for a program that Portolan cannot guard, such as a \
container: no other Portolan process gets the port, but a foreign process can bind it. After the \
start, `portolan ports check PORT` shows who listens on it.";

/// What the lease holder sends once the lease is released.
pub(super) const RELEASED: u8 = b'1';

/// Options of `portolan ports alloc`.
#[derive(Debug, Args)]
pub(super) struct Alloc {
    #[command(flatten)]
    port: PortArgs,
    /// Process that owns the lease [default: the shell or program that runs this command]
    #[arg(long, value_name = "PID")]
    owner: Option<u32>,
}

/// Options of `portolan ports release`.
#[derive(Debug, Args)]
pub(super) struct Release {
    /// Lease, as printed by `ports alloc` on standard error or with --json
    lease: String,
}

/// The response of the lease holder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum HolderResponse {
    /// It holds the lease.
    Held { port: u16, lease: String, pid: u32 },
    /// It could not lease a port.
    Failed { exit: u8, message: String, remedy: Option<String> },
}

// === impl Alloc ===

impl Alloc {
    pub(super) async fn run(self, context: &Context) -> CommandResult {
        let owner = self.owner.unwrap_or_else(owner::owner);
        let hold = HoldArgs { port: self.port, owner };
        match start_holder(context, &hold).await? {
            held @ HolderResponse::Held { .. } if context.json => output::json(&held)?,
            HolderResponse::Held { port, lease, .. } => {
                if !context.quiet {
                    output::note(format_args!("lease {lease}, held until process {owner} ends"));
                }
                output::line(port)?;
            }
            HolderResponse::Failed { exit, message, remedy } => {
                return Err(Failure { exit: Exit::from_code(exit), message, remedy });
            }
        }
        Ok(Exit::Done)
    }
}

async fn start_holder(context: &Context, hold: &HoldArgs) -> Result<HolderResponse, Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure::failed(format_args!("cannot {what} the lease holder: {error}"))
    };
    let program = std::env::current_exe().map_err(|error| failed("find", &error))?;
    let mut command = Command::new(program);
    withheld_variables().for_each(|name| _ = command.env_remove(name));
    let mut holder = command
        .args(context.repeated_options())
        .args(hold.to_arguments())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Warnings during the allocation are for the caller; afterwards the holder logs nothing.
        .stderr(Stdio::inherit())
        .process_group(0)
        .spawn()
        .map_err(|error| failed("start", &error))?;
    let Some(stdout) = holder.stdout.take() else {
        return Err(failed("read from", &"it has no standard output"));
    };
    let mut line = String::new();
    let mut responses = BufReader::new(stdout).take(MAX_RESPONSE);
    let read = timeout(TIMEOUT, responses.read_line(&mut line)).await;
    match read {
        Ok(Ok(_)) => {
            serde_json::from_str(&line).map_err(|error| failed("read the response of", &error))
        }
        Ok(Err(error)) => Err(failed("read from", &error)),
        Err(_) => {
            _ = holder.start_kill();
            Err(failed("wait for", &"no response within 10s"))
        }
    }
}

// === impl Release ===

impl Release {
    pub(super) async fn run(self, context: &Context) -> CommandResult {
        let lease = self.lease.clone();
        let released = tokio::task::spawn_blocking(move || release_lease(&lease)).await;
        released.map_err(Failure::failed)??;
        if context.json {
            output::json(&serde_json::json!({ "released": self.lease }))?;
        }
        Ok(Exit::Done)
    }
}

/// Returns the socket address of a lease holder: an abstract name (unix(7)), which leaves no file
/// behind and is visible in the network namespace of the port.
pub(super) fn address_of(lease: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("portolan-lease-{lease}"))
}

/// Connects to the lease holder, which releases the lease, confirms it and ends.
fn release_lease(lease: &str) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::failed(format_args!("cannot release the lease: {error}"));
    let connected = address_of(lease).and_then(|address| UnixStream::connect_addr(&address));
    let mut holder = connected.map_err(|error| match error.kind() {
        // Also of a name that is longer than the name of a socket may be.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput => no_lease(lease),
        _ => failed(error),
    })?;
    check_user(lease, &holder)?;
    holder.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    let mut confirmation = [0];
    match holder.read_exact(&mut confirmation) {
        Ok(()) if confirmation == [RELEASED] => {}
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(failed(error)),
        _ => return Err(Failure::failed("the lease holder has ended without a confirmation")),
    }
    io::copy(&mut holder, &mut io::sink()).map(drop).map_err(failed)
}

/// Any user of the network namespace can connect, but a holder releases its lease for its own user only.
fn check_user(lease: &str, holder: &UnixStream) -> Result<(), Failure> {
    let peer = rustix::net::sockopt::socket_peercred(holder)
        .map_err(|error| Failure::failed(format_args!("cannot release the lease: {error}")))?;
    if peer.uid == rustix::process::geteuid() {
        return Ok(());
    }
    let user = user_name(peer.uid.as_raw());
    let message = format!("the lease {lease:?} belongs to user {user}, and is still held");
    Err(Failure::new(Exit::NotPermitted, message)
        .remedy(format!("release it as {user}, or end the process that owns it")))
}

fn no_lease(lease: &str) -> Failure {
    Failure::failed(format_args!("no lease {}; it may have ended with its owner", quoted(lease)))
        .remedy("use the name that `ports alloc` printed, not the port")
}

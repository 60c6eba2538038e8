//! `portolan ports`: manual use of the port allocator.

mod alloc;
mod check;
mod lease_holder;
mod list;
mod owner;
mod port_args;
mod wait;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::CommandResult;

/// Options of `portolan ports`.
#[derive(Debug, Args)]
pub(crate) struct Ports {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Leases a port and prints it; the lease ends when it is released or its owner ends
    #[command(after_help = alloc::AFTER_HELP)]
    Alloc(alloc::Alloc),
    /// Releases a lease of `ports alloc`
    Release(alloc::Release),
    /// Lists the ports of this host that are leased or in use
    List(list::List),
    /// Explains a port: its lease, its listeners, and the rules that apply to it
    #[command(after_help = check::AFTER_HELP)]
    Check(check::Check),
    /// Waits until a process listens on a port of this host
    #[command(after_help = wait::AFTER_HELP)]
    Wait(wait::Wait),
    /// Holds a lease for `ports alloc`
    #[command(hide = true)]
    Hold(lease_holder::Hold),
}

impl Ports {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        match self.command {
            Command::Alloc(alloc) => alloc.run(context).await,
            Command::Release(release) => release.run(context).await,
            Command::List(list) => list.run(context),
            Command::Check(check) => check.run(context),
            Command::Wait(wait) => wait.run(context).await,
            // Nothing else runs in this process, so that blocking is safe.
            Command::Hold(hold) => hold.run(context),
        }
    }
}

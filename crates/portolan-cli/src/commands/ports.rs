//! `portolan ports`: the port allocator by hand.

mod alloc;
mod check;
mod hold;
mod list;
mod owner;
mod wish;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Ending;

/// Options of `portolan ports`.
#[derive(Debug, Args)]
pub(crate) struct Ports {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Leases a port and prints it; the lease lasts until it is released or its owner ends
    #[command(after_help = alloc::AFTER_HELP)]
    Alloc(alloc::Alloc),
    /// Ends a lease of `ports alloc`
    Release(alloc::Release),
    /// Lists every port of this host that is leased or listened on, and who has it
    List(list::List),
    /// Explains a port: who has a lease on it, who listens on it, and which rules concern it
    #[command(after_help = check::AFTER_HELP)]
    Check(check::Check),
    /// Holds a lease for `ports alloc`
    #[command(hide = true)]
    Hold(hold::Hold),
}

impl Ports {
    pub(crate) async fn run(self, context: &Context) -> Ending {
        match self.command {
            Command::Alloc(alloc) => alloc.run(context).await,
            Command::Release(release) => release.run(context).await,
            Command::List(list) => list.run(context),
            Command::Check(check) => check.run(context),
            // Nothing else runs in this process, so it may block.
            Command::Hold(hold) => hold.run(context),
        }
    }
}

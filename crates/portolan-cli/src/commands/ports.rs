//! `portolan ports`: the port allocator by hand.

mod alloc;
mod hold;
mod owner;

use clap::{Args, Subcommand};
use portolan_core::port;
use portolan_port_allocator::PortState;
use serde_json::json;

use crate::context::Context;
use crate::exit::{Ending, Exit};
use crate::output;

/// Options of `portolan ports`.
#[derive(Debug, Args)]
pub(crate) struct Ports {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Leases a port and prints it; the lease lasts until it is released or its owner ends
    Alloc(alloc::Alloc),
    /// Ends a lease of `ports alloc`
    Release(alloc::Release),
    /// Lists every port that is leased on this host, and who holds it
    List,
    /// Tells whether a port is free, and if not, why
    Check {
        /// The port
        #[arg(value_parser = port::parse)]
        port: u16,
    },
    /// Holds a lease for `ports alloc`
    #[command(hide = true)]
    Hold(hold::Hold),
}

impl Ports {
    pub(crate) async fn run(self, context: &Context) -> Ending {
        match self.command {
            Command::Alloc(alloc) => alloc.run(context).await,
            Command::Release(release) => release.run(context).await,
            Command::List => list(context),
            Command::Check { port } => check(context, port),
            // Nothing else runs in this process, so it may block.
            Command::Hold(hold) => hold.run(context),
        }
    }
}

fn list(context: &Context) -> Ending {
    let holders = context.allocator()?.holders();
    if context.json {
        output::json(&json!({ "ports": holders }))?;
        return Ok(Exit::Done);
    }
    let mut table = output::table(["PORT", "SERVICE", "SCOPE", "DEPTH", "PID", "SINCE"]);
    for holder in holders {
        table.add_row([
            holder.port.to_string(),
            holder.service.to_string(),
            holder.scope.to_string(),
            holder.depth.to_string(),
            holder.pid.to_string(),
            holder.since.to_string(),
        ]);
    }
    output::line(table.trim_fmt())?;
    Ok(Exit::Done)
}

fn check(context: &Context, port: u16) -> Ending {
    let report = context.allocator()?.check(port);
    match context.json {
        true => output::json(&report)?,
        false => output::line(&report)?,
    }
    Ok(if report.state == PortState::Free { Exit::Done } else { Exit::NoPort })
}

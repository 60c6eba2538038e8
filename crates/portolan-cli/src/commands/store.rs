//! `portolan store`: the data of a registry, without a server.

mod check;
mod export;
mod import;

use clap::{Args, Subcommand};
use portolan_registry::store::StoreProblem;

use crate::context::Context;
use crate::exit::CommandResult;
use crate::output;

pub(crate) const AFTER_HELP: &str = "\
The store is the one that service_registry selects: its storage_backend with data_dir, etcd.* or consul.*, in the configuration \
file, the environment or --set. A store is moved by two commands:

  portolan store export --set service_registry.data_dir=/var/lib/portolan > registry.jsonl
  portolan store import --set service_registry.storage_backend=etcd registry.jsonl

Export and check only read, also while servers run. Import into a data directory needs its server to be stopped; servers over \
etcd or Consul go on.";

/// Options of `portolan store`.
#[derive(Debug, Args)]
pub(crate) struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes every instance of the store, and the settings of services, as JSON lines
    Export(export::Export),
    /// Stores the instances and the settings of an export that the store does not have
    Import(import::Import),
    /// Reads the store, or a file of an export, and reports damage with exit status 1
    Check(check::Check),
}

impl Store {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        match self.command {
            Command::Export(export) => export.run(context).await,
            Command::Import(import) => import.run(context).await,
            Command::Check(check) => check.run(context).await,
        }
    }
}

/// Shows a problem on standard error.
fn warn(problem: &StoreProblem) {
    let StoreProblem { place, problem, remedy, .. } = problem;
    output::warning(format_args!("{place}: {problem}; {remedy}"));
}

/// The number of instances in words.
fn instances(count: usize) -> String {
    if count == 1 { "1 instance".to_owned() } else { format!("{count} instances") }
}

/// The number of settings in words, after that of instances; nothing if there are none.
fn and_settings(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " and the settings of 1 service".to_owned(),
        count => format!(" and the settings of {count} services"),
    }
}

//! What can be typed: the options that every command takes, and the commands.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use portolan_core::Scope;

use crate::commands;

/// Every service finds a port, and every client finds the service.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, propagate_version = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 service not found, \
4 no port available, 5 registry unreachable, 6 not permitted, 124 timed out; run and exec pass on \
the status of the program they start.

Every setting can be given in a file, as PORTOLAN_… in the environment, and with --set.";

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Reads settings from FILE [default: ./portolan.yaml, else ~/.config/portolan/portolan.yaml]
    #[arg(long, global = true, value_name = "FILE", env = "PORTOLAN_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one setting, as in discovery.timeouts.overall=20s; can be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The registry's address [default: the one of this scope on this host, else http://localhost:7000]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) registry: Option<String>,
    /// The scope of names [default: the stack's of this folder, else "default"]
    #[arg(long, global = true, value_name = "SCOPE")]
    pub(crate) scope: Option<Scope>,
    /// Prints JSON for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Says more on standard error; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Says nothing but errors on standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Working(Working),
    /// Checks or shows the configuration
    Config(commands::config::Config),
    /// Prints a completion script for a shell
    Completions(commands::completions::Completions),
}

/// The commands that work with what the configuration describes.
#[derive(Debug, Subcommand)]
pub(crate) enum Working {
    /// Starts a stack: a registry and each service, in order of need
    Up(commands::up::Up),
    /// Runs the registry server: HTTP API, metrics, broadcast listener
    Serve(commands::serve::Serve),
    /// Runs one program as a service, on a port of its own
    Run(Box<commands::run::Run>),
    /// Runs a command with the addresses of the services it needs in its environment
    Exec(commands::exec::Exec),
    /// Finds a service
    Discover(commands::discover::Discover),
    /// Prints changes of services as they happen
    Watch(commands::watch::Watch),
    /// Lists all services and their health
    List(commands::list::List),
    /// Registers a service by hand
    Register(commands::register::Register),
    /// Removes a service from the registry
    Deregister(commands::deregister::Deregister),
    /// Extends the lease of a registered service
    Heartbeat(commands::heartbeat::Heartbeat),
    /// Sets the health of a registered service
    Health(commands::health::Health),
    /// Leases ports by hand, and tells who holds which
    Ports(commands::ports::Ports),
    /// Checks what usually goes wrong on a host, and says how to mend it
    #[command(after_help = commands::doctor::AFTER_HELP)]
    Doctor(commands::doctor::Doctor),
    /// Announces a service on the broadcast channel
    Announce(commands::announce::Announce),
    /// Prints what is heard on the broadcast channel
    Listen(commands::listen::Listen),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_command_and_option_fits_the_others() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_dashes_is_the_programs_own() {
        let cli = Cli::parse_from(["portolan", "run", "--name", "x", "--", "prog", "--json", "-q"]);
        assert!(!cli.global.json && !cli.global.quiet);
    }
}

//! The command line: the commands, and the help texts that they share.

use clap::{Parser, Subcommand};

use crate::commands;
use crate::global::Global;

/// Dynamic port binding and service discovery
#[derive(Debug, Parser)]
#[command(name = "portolan", version, propagate_version = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Exit status: 0 success, 1 failure, 2 invalid usage or configuration, 3 service not found, \
4 no port available, 5 registry unreachable, 6 not permitted or owned by another registrant, 124 timed out; run and exec pass on \
the exit status of the program they start.

Every setting can be set in the configuration file, as PORTOLAN_… in the environment, and with --set.";

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Service(ServiceCommand),
    /// Checks or shows the configuration
    Config(commands::config::Config),
    /// Trusts a configuration file that was written by somebody else
    #[command(after_help = commands::trust::AFTER_HELP)]
    Trust(commands::trust::Trust),
    /// Verifies audit logs
    Audit(commands::audit::Audit),
    /// Runs a program for `run` and `up`, and ends whatever it leaves behind
    #[command(hide = true)]
    Shim(commands::shim::Shim),
    /// Prints a completion script for a shell
    Completions(commands::completions::Completions),
}

/// The commands that need a valid configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Starts a stack: a registry, then each service in dependency order
    Up(commands::up::Up),
    /// Runs the registry server: HTTP API, metrics, broadcast listener
    #[command(after_help = commands::serve::AFTER_HELP)]
    Serve(commands::serve::Serve),
    /// Runs a program as a service on a leased port
    Run(Box<commands::run::Run>),
    /// Runs a command with the addresses of services in its environment
    Exec(commands::exec::Exec),
    /// Writes a file from a template and the services that it names
    #[command(after_help = commands::render::AFTER_HELP)]
    Render(commands::render::Render),
    /// Registers the containers of a Docker engine
    #[command(after_help = commands::docker::AFTER_HELP)]
    Docker(commands::docker::Docker),
    /// Runs Docker Compose with leased ports
    #[command(after_help = commands::compose::AFTER_HELP)]
    Compose(commands::compose::Compose),
    /// Holds the leases of a Compose project
    #[cfg(feature = "full")]
    #[command(hide = true)]
    ComposeHold(commands::compose::hold::ComposeHold),
    /// Finds a service
    Discover(commands::discover::Discover),
    /// Prints changes to services as they happen
    Watch(commands::watch::Watch),
    /// Lists services with their address and health
    List(commands::list::List),
    /// Registers a service manually
    Register(Box<commands::register::Register>),
    /// Removes an instance of a service from the registry
    Deregister(commands::deregister::Deregister),
    /// Renews the lease of a registered instance
    Heartbeat(commands::heartbeat::Heartbeat),
    /// Reports the health of a registered instance
    Health(commands::health::Health),
    /// Leases ports manually and shows which ports are in use
    Ports(commands::ports::Ports),
    /// Ends what a killed `run` or `up` has left behind
    #[command(after_help = commands::prune::AFTER_HELP)]
    Prune(commands::prune::Prune),
    /// Exports, imports and checks the data of a registry
    #[command(after_help = commands::store::AFTER_HELP)]
    Store(commands::store::Store),
    /// Creates, lists and revokes tokens of a registry with policies
    #[command(after_help = commands::token::AFTER_HELP)]
    Token(commands::token::Token),
    /// Creates a small certificate authority, and certificates for registries with TLS
    #[command(after_help = commands::ca::AFTER_HELP)]
    Ca(commands::ca::Ca),
    /// Carries services between a registry and a Kubernetes cluster
    Kubernetes(commands::kubernetes::Kubernetes),
    /// Checks this host and the configuration for common problems
    #[command(after_help = commands::doctor::AFTER_HELP)]
    Doctor(commands::doctor::Doctor),
    /// Sends one announcement on the broadcast channel
    Announce(commands::announce::Announce),
    /// Prints announcements on the broadcast channel
    Listen(commands::listen::Listen),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Appends the long help of a command and of its subcommands, with the global options only in
    /// the first page.
    fn help_pages(command: &mut clap::Command, pages: &mut Vec<String>) {
        let page = command.render_long_help().to_string();
        let mut lines: Vec<&str> = page.lines().map(str::trim_end).collect();
        let first = lines.iter().position(|line| *line == "Global options:");
        let last = lines.iter().position(|line| line.ends_with("only errors to standard error"));
        if !pages.is_empty() {
            lines.drain(first.unwrap() + 1..=last.unwrap());
        }
        pages.push(lines.join("\n"));
        for subcommand in command.get_subcommands_mut().filter(|it| it.get_name() != "help") {
            help_pages(subcommand, pages);
        }
    }

    #[test]
    fn help_pages_are_reviewed() {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut pages = Vec::new();
        help_pages(&mut command, &mut pages);
        insta::assert_snapshot!(pages.join("\n\n========\n\n"));
    }

    #[test]
    fn arguments_after_double_dash_belong_to_the_program() {
        let cli = Cli::parse_from(["portolan", "run", "--name", "x", "--", "prog", "--json", "-q"]);
        assert!(!cli.global.json && !cli.global.quiet);
    }
}

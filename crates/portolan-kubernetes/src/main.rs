//! The command `portolan kubernetes`: the bridge between a registry and a Kubernetes cluster.
//!
//! A program of its own, because a client of Kubernetes takes as long to build as the rest of Portolan. `portolan
//! kubernetes` starts it, with the registry of its settings in the environment.

mod bridge;
mod changes;
mod cli;
mod cluster;
mod discover;
mod exit;
mod export;
mod follow;
mod import;
mod instances;
mod known;
mod logging;
mod objects;
mod options;
mod pods;
mod registrant;
mod registrar;
mod shutdown;
mod view;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::Builder;

use cli::{Cli, Command};
use exit::{Exit, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If the output is closed, there is nowhere else to print.
            _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.print().into(),
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    // Several crates of the tree may bring a provider; without this call rustls could not choose.
    _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Cli { options, command } = cli;
    logging::start(&options, command.default_level());
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::failed(format_args!("cannot start: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Import(import) => import.run().await,
            Command::Export(export) => export.run().await,
            Command::Pods(pods) => pods.run().await,
            Command::Discover(discover) => discover.run(options.json).await,
        }
    })
}

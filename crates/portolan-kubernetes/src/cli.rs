//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use portolan_core::TlsConfig;

use crate::discover::Discover;
use crate::export::Export;
use crate::import::Import;
use crate::pods::Pods;

const AFTER_HELP: &str = "\
The registry is that of `portolan`, whose options come before the word kubernetes: `portolan --registry URL kubernetes import`. \
Started by itself, this program takes it from PORTOLAN_REGISTRY_URL, PORTOLAN_TOKEN and PORTOLAN_TOKEN_FILE.

The cluster is that of --kubeconfig, KUBECONFIG or ~/.kube/config, else the one in which this program is a pod.

Exit status: 0 success, 1 failure, 2 invalid usage or configuration, 3 service not found, 5 cluster or registry unreachable, \
6 not permitted.";

/// The bridge between a registry and a Kubernetes cluster
#[derive(Debug, Parser)]
#[command(name = "portolan-kubernetes", bin_name = "portolan kubernetes", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options of every command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log more to standard error
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Log only errors to standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Registers the ready endpoints of the cluster's Services, and follows them until a signal ends it
    #[command(after_help = crate::import::AFTER_HELP)]
    Import(Import),
    /// Shows services of the registry in the cluster as Services with endpoint slices, and follows them until a signal ends it
    #[command(after_help = crate::export::AFTER_HELP)]
    Export(Export),
    /// Registers the pods that have annotations of Portolan, and follows them until a signal ends it
    #[command(after_help = crate::pods::AFTER_HELP)]
    Pods(Pods),
    /// Finds the ready endpoints of one Service
    Discover(Discover),
}

// === impl Command ===

impl Command {
    /// The log level without a flag: the output of a server is its log.
    pub(crate) fn default_level(&self) -> &'static str {
        match self {
            Self::Import(_) | Self::Export(_) | Self::Pods(_) => "info",
            Self::Discover(_) => "error",
        }
    }
}

/// Returns the certificates with which the registry is reached, from the variables of Portolan's settings.
pub(crate) fn registry_tls() -> TlsConfig {
    let file = |name: &str| {
        let variable = format!("PORTOLAN_DISCOVERY__TLS__{name}");
        std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    TlsConfig {
        ca: file("CA"),
        certificate: file("CERTIFICATE"),
        key: file("KEY"),
        crl: file("CRL"),
    }
}

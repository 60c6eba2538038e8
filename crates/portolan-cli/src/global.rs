//! The options that every command takes.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use portolan_core::Scope;

/// The options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Read settings from FILE [default: portolan.yaml in this directory or the nearest one above it, else ~/.config/portolan/portolan.yaml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PORTOLAN_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,
    /// Set one setting, such as discovery.timeouts.overall=20s; repeatable
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// URL of the registry [default: the registry of this scope on this host, else http://localhost:7000]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) registry: Option<String>,
    /// Scope of service names [default: the scope of the stack in this directory or above it, else "default"]
    #[arg(long, global = true, value_name = "SCOPE")]
    pub(crate) scope: Option<Scope>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log more to standard error: -v info, -vv debug
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print only errors to standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

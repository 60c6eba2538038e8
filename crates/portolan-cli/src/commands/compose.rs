//! `portolan compose`: runs Compose with leased ports of the host.

use std::ffi::OsString;

use clap::Args;

use crate::context::Context;
use crate::exit::CommandResult;

#[cfg(feature = "full")]
mod arguments;
#[cfg(feature = "full")]
pub(crate) mod hold;
#[cfg(feature = "full")]
mod leases;
#[cfg(feature = "full")]
mod program;
#[cfg(feature = "full")]
mod project;
#[cfg(feature = "full")]
mod start;

pub(crate) const AFTER_HELP: &str = "\
Options of Portolan come before the word compose; what follows it is for Compose. FILE ends in .yml or .yaml and is short for -f FILE.

The commands up, create, run, scale and watch lease each port of the host that a service publishes by its number: that number, or the next \
free one, and the same again next time in this directory. The leases end with the containers of the service, as by `portolan compose down`. \
Every other command is passed on to Compose. It is `docker compose` if that is installed, else `docker-compose`.

  portolan compose up -d
  portolan compose docker-compose.test.yml up -d
  portolan compose port postgres 5432";

/// Options of `portolan compose`.
#[derive(Debug, Args)]
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "this build has no Docker"))]
pub(crate) struct Compose {
    /// Compose file, and a command of Compose with its options
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "[FILE] COMMAND"
    )]
    arguments: Vec<OsString>,
}

impl Compose {
    #[cfg(feature = "full")]
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        start::run(self.arguments, context).await
    }

    #[cfg(not(feature = "full"))]
    #[allow(clippy::unused_async, reason = "the signature of every command")]
    pub(crate) async fn run(self, _: &Context) -> CommandResult {
        Err(super::docker::not_built())
    }
}

//! `portolan docker`: registers the containers of a Docker engine.

use std::path::PathBuf;

use clap::Args;
use portolan_core::Ttl;

use crate::context::Context;
use crate::exit::CommandResult;

#[cfg(feature = "full")]
mod beside;
#[cfg(feature = "full")]
mod follow;
#[cfg(not(feature = "full"))]
mod without;
#[cfg(feature = "full")]
pub(crate) use beside::{Containers, engine};
#[cfg(feature = "full")]
pub(crate) use follow::socket;
#[cfg(not(feature = "full"))]
pub(crate) use without::{Containers, engine};

pub(crate) const AFTER_HELP: &str = "\
A container is registered while it runs and is not paused, if its labels name a service:

  portolan.name       the service [default: the service of Compose]
  portolan.port       the port in the container, such as 80 or 53/udp [default: the only one that is published, else exposed]
  portolan.scope      the scope [default: the project of Compose, else \"default\"]
  portolan.protocol   http, grpc … [default: tcp or udp]
  portolan.version    the version
  portolan.health     the check that the registry runs [default: the health check of the image, which Docker runs]
  portolan.meta.KEY   metadata
  portolan.enable     false: not registered

It needs the socket of the engine: root, or a member of the group docker, which is as powerful as root. It only reads.";

/// Options of `portolan docker`.
#[derive(Debug, Args)]
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "this build has no Docker"))]
pub(crate) struct Docker {
    /// Unix socket of the engine [default: DOCKER_HOST, if it is one, else /var/run/docker.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How long instances are registered after this command or the engine has stopped responding
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    ttl: Ttl,
}

impl Docker {
    #[cfg(feature = "full")]
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        follow::follow(self, context).await
    }

    #[cfg(not(feature = "full"))]
    #[allow(clippy::unused_async, reason = "the signature of every command")]
    pub(crate) async fn run(self, _: &Context) -> CommandResult {
        Err(not_built())
    }
}

/// The failure of a command that this build does not have.
#[cfg(not(feature = "full"))]
pub(crate) fn not_built() -> crate::exit::Failure {
    crate::exit::Failure::usage("this portolan was built without Docker")
        .remedy("use the packaged release, or build it with `--features full`")
}

//! `portolan serve`: the registry server.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use portolan_server::RegistryServer;
use rustix::process::DumpableBehavior;
use serde_json::json;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::{output, shutdown};

pub(crate) const AFTER_HELP: &str = "\
Where endpoints are kept, by service_registry.storage_backend:
  memory   this process; with --data-dir they survive a crash
  etcd     an etcd cluster (3.4 or later): etcd.endpoints, etcd.prefix, etcd.username, etcd.password_file, etcd.tls
  consul   Consul (1.8 or later): consul.url, consul.prefix, consul.token_file, consul.tls
Several servers over one etcd or Consul are equal. A server whose store is unreachable, denies the access, is too old, or whose prefix something else \
uses, starts, says so in its log, and is not ready; `portolan doctor` shows the reason and the remedy, and compares the clocks.

  portolan serve --set service_registry.storage_backend=etcd --set 'service_registry.etcd.endpoints=[\"http://10.0.0.7:2379\"]'

It listens on 127.0.0.1:7000 unless an address is given. Other hosts need a token (PORTOLAN_TOKEN) or TLS (service_registry.tls; `portolan ca --help`).";

/// Options of `portolan serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to listen on [default: service_registry.listen_address]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Directory that keeps the endpoints across restarts [default: service_registry.data_dir]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

impl Serve {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        protect_secrets()?;
        let mut stop = shutdown::signals()?;
        let mut settings = context.settings().clone();
        if let Some(address) = self.listen {
            settings.service_registry.listen_address = address;
        }
        if self.data_dir.is_some() {
            settings.service_registry.data_dir = self.data_dir;
            settings.validate()?;
        }
        let broadcaster = context.broadcaster().await?;
        let mut server = RegistryServer::builder(settings)
            .scope(context.scope.clone())
            .metrics(context.metrics.clone())
            .broadcaster(broadcaster)
            .start()
            .await?;
        if context.json {
            output::json(&json!({ "url": server.url() }))?;
        } else {
            output::line(format_args!("registry at {}", server.url()))?;
        }
        let failure = tokio::select! {
            () = stop.wait() => None,
            error = server.wait() => Some(error),
        };
        server.stop().await;
        failure.map_or(Ok(Exit::Done), |error| Err(error.into()))
    }
}

/// Keeps the token and the keys out of core files and of `/proc`, also from other programs of this user
/// (PR_SET_DUMPABLE, prctl(2)). Root can still debug the server. `run` stays as it is: its program has the same user
/// and, if requested, the same secrets.
fn protect_secrets() -> Result<(), Failure> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| Failure::failed(format_args!("cannot protect the memory: {error}")))
}

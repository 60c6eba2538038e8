//! `portolan serve`: the registry server.

mod root;

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use portolan_core::quoted;
use portolan_server::{LIVE_SETTINGS, RegistryServer, Settings};
use rustix::process::{DumpableBehavior, Resource, getrlimit, setrlimit};
use serde_json::json;
use tracing::info;

use crate::commands::docker;
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::logging::LogLevel;
use crate::output::background;
use crate::reload::Reload;
use crate::sandbox::{self, Restriction};
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
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = socket_address)]
    listen: Option<SocketAddr>,
    /// Directory that keeps the endpoints across restarts [default: service_registry.data_dir]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Run as root although other hosts can reach the registry [default: service_registry.allow_root]
    #[arg(long)]
    allow_root: bool,
    /// Also register the containers of a Docker engine on this host, as `portolan docker` does, at its Unix socket [default: DOCKER_HOST,
    /// if it is one, else /var/run/docker.sock]
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true)]
    docker: Option<Option<PathBuf>>,
}

impl Serve {
    /// Gives up what the server does not need. It precedes every other thread.
    ///
    /// # Errors
    /// The settings are invalid, or ask for a registry of root that other hosts can reach.
    pub(crate) fn prepare(&self, context: &Context) -> Result<Restriction, Failure> {
        let settings = self.settings(context)?;
        root::check(&settings.service_registry)?;
        protect_secrets()?;
        Ok(sandbox::restrict(&written_directories(&settings)))
    }

    pub(crate) async fn run(
        self,
        context: &Context,
        restriction: Restriction,
        log_level: LogLevel,
    ) -> CommandResult {
        // A log that nobody reads must not stop the registry.
        background::start(false, background::MANY).map_err(Failure::failed)?;
        log_restriction(restriction);
        open_more_files();
        let mut stop = shutdown::signals_but_hangup()?;
        let docker = self.docker.clone().map(docker::engine).transpose()?;
        let settings = move |context: &Context| self.settings(context);
        let mut reload = Reload::of(context, log_level, LIVE_SETTINGS, settings)?.on_hangup()?;
        let settings = reload.settings();
        let broadcaster = context.broadcaster().await?;
        let mut server = RegistryServer::builder(settings)
            .scope(context.scope.clone())
            .metrics(context.metrics.clone())
            .broadcaster(broadcaster)
            .live(reload.manager())
            .start()
            .await?;
        if context.json {
            output::json(&json!({ "url": server.url() }))?;
        } else {
            output::line(format_args!("registry at {}", server.url()))?;
        }
        let client = context.registry_at(server.url())?;
        let containers = docker.map(|engine| docker::Containers::register(engine, client));
        let failure = tokio::select! {
            () = stop.wait() => None,
            () = reload.run() => None,
            error = server.wait() => Some(error),
        };
        if let Some(containers) = containers {
            containers.stop().await;
        }
        server.stop().await;
        failure.map_or(Ok(Exit::Done), |error| Err(error.into()))
    }

    fn settings(&self, context: &Context) -> Result<Settings, Failure> {
        let mut settings = context.settings().clone();
        let registry = &mut settings.service_registry;
        registry.listen_address = self.listen.unwrap_or(registry.listen_address);
        registry.allow_root |= self.allow_root;
        if let Some(data_dir) = &self.data_dir {
            registry.data_dir = Some(data_dir.clone());
            settings.validate()?;
        }
        Ok(settings)
    }
}

fn log_restriction(restriction: Restriction) {
    match restriction {
        #[cfg(feature = "full")]
        Restriction::Full => info!("Writing is restricted to the server's own directories"),
        #[cfg(feature = "full")]
        Restriction::Partial => {
            info!(
                "Writing is restricted to the server's own directories, except for what this kernel cannot restrict"
            );
        }
        Restriction::None => info!("Writing is not restricted, Landlock is not available"),
    }
}

/// Returns the directories in which the server creates and changes files. What it only reads is not among them.
fn written_directories(settings: &Settings) -> Vec<PathBuf> {
    let data = settings.service_registry.data_dir.as_ref().inspect(|data| {
        // A directory that is missing cannot be named in the restriction. The store reports why it cannot be created.
        _ = DirBuilder::new().recursive(true).mode(0o700).create(data);
    });
    // The one above it, because a rule is for a directory and not for its name: a data directory that is removed, and comes
    // back, is used again.
    let data = data.map(|data| above(data).unwrap_or_else(|| data.clone()));
    let audit = settings.logging.audit.file.as_deref().and_then(above);
    // The socket of the registry and the reservation table, and the ports that are sticky.
    let runtime = settings.port_allocator.runtime_directory().ok();
    let state = settings.port_allocator.state_directory().ok().flatten();
    data.into_iter().chain(audit).chain(runtime).chain(state).collect()
}

/// Returns the directory of a path; `None` if that is the root.
fn above(path: &Path) -> Option<PathBuf> {
    match path.parent()?.as_os_str() {
        nothing if nothing.is_empty() => Some(".".into()),
        root if root == "/" => None,
        parent => Some(parent.into()),
    }
}

/// Raises the limit on open files as far as it goes: each connection takes one, and the soft limit is for programs that use
/// select(2). `up` stays as it is, because its programs inherit the limit.
fn open_more_files() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    // Without it there are fewer connections.
    _ = setrlimit(Resource::Nofile, files);
}

/// Keeps the token and the keys out of core files and of `/proc`, also from other programs of this user
/// (PR_SET_DUMPABLE, prctl(2)). Root can still debug the server. `run` stays as it is: its program has the same user
/// and, if requested, the same secrets.
fn protect_secrets() -> Result<(), Failure> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| Failure::failed(format_args!("cannot protect the memory: {error}")))
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{} is not an address with a port, expected one such as 127.0.0.1:7000",
            quoted(text)
        )
    })
}

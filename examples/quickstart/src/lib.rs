//! What the services of the quickstart need: a log, a client, and to hear that they shall end.

use std::env;
use std::io::{self, IsTerminal as _};

use anyhow::Result;
use portolan::{BroadcastConfig, DiscoveryClient};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Logs to standard error; `RUST_LOG` says how much.
pub fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(io::stderr)
        .init();
}

/// A client that looks names up where `portolan up` says: in the stack's scope, at its registry.
///
/// # Errors
/// `PORTOLAN_SCOPE` is no scope, or `PORTOLAN_REGISTRY_URL` no address.
pub fn discovery() -> Result<DiscoveryClient> {
    // The channel as portolan.yaml has it: it stays on this machine.
    let channel = BroadcastConfig { interface: "127.0.0.1".into(), ..Default::default() };
    let mut client = DiscoveryClient::builder().broadcast(channel);
    if let Ok(scope) = env::var("PORTOLAN_SCOPE") {
        client = client.scope(scope.parse()?);
    }
    if let Ok(url) = env::var("PORTOLAN_REGISTRY_URL") {
        client = client.registry_url(url);
    }
    Ok(client.build()?)
}

/// Waits for SIGTERM, which a supervisor sends, or SIGINT, which Ctrl-C does.
///
/// # Errors
/// The system lets us listen to no signals.
pub async fn told_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

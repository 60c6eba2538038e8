//! What the services of the quickstart need: a log, a client, and to hear that they shall end.

use std::io::{self, IsTerminal as _};

use anyhow::Result;
use portolan::DiscoveryClient;
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
/// What the environment says of it cannot be used.
pub fn discovery() -> Result<DiscoveryClient> {
    Ok(DiscoveryClient::builder().from_env()?.build()?)
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

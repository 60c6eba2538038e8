//! What the services of the quickstart share: logging, a client, shutdown.

use std::io::{self, IsTerminal as _};

use anyhow::Result;
use portolan::DiscoveryClient;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Logs to standard error; `RUST_LOG` sets the level.
pub fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(io::stderr)
        .init();
}

/// Returns a client for the scope and registry of the stack, which `portolan up` passes in the
/// environment.
///
/// # Errors
/// A variable in the environment is invalid.
pub fn discovery() -> Result<DiscoveryClient> {
    Ok(DiscoveryClient::builder().from_env()?.build()?)
}

/// Waits for SIGTERM, sent by a supervisor, or SIGINT, sent by Ctrl-C.
///
/// # Errors
/// The signal handlers cannot be installed.
pub async fn told_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

//! How a program of the example starts and ends.

use std::env;
use std::io::{self, IsTerminal as _};

use anyhow::{Context, Result};
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

/// The address of a service that is needed, from `NAME_HOST` and `NAME_PORT`, as `portolan up` and
/// `portolan exec` set them.
///
/// # Errors
/// They are not set, or no address.
pub fn needed(name: &str) -> Result<(String, u16)> {
    let variable = |part: &str| {
        let variable = format!("{name}_{part}");
        let why =
            format!("{variable} is not set; start this with `portolan up` or `portolan exec`");
        env::var(&variable).context(why)
    };
    Ok((variable("HOST")?, port(&variable("PORT")?)?))
}

/// The port to listen on, from `PORT`.
///
/// # Errors
/// It is not set, or no port.
pub fn own_port() -> Result<u16> {
    port(&env::var("PORT").context("PORT is not set; start this with `portolan run` or `up`")?)
}

fn port(text: &str) -> Result<u16> {
    text.parse().with_context(|| format!("{text:?} is not a port from 1 to 65535"))
}

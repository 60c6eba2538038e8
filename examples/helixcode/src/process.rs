//! Start and shutdown of the example's programs.

use std::env;
use std::io::{self, IsTerminal as _};

use anyhow::{Context, Result};
use portolan::DiscoveryClient;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Logs to standard error, at the level or with the filter in `RUST_LOG`.
pub fn log() {
    let filter = env::var("RUST_LOG").ok().and_then(|filter| filter.parse().ok());
    let filter: Targets = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    tracing_subscriber::registry().with(filter).with(layer).init();
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

/// Returns the address of a needed service from `NAME_HOST` and `NAME_PORT`, as set by
/// `portolan up` and `portolan exec`.
///
/// # Errors
/// The variables are not set, or are not an address.
pub fn needed(name: &str) -> Result<(String, u16)> {
    let variable = |part: &str| {
        let variable = format!("{name}_{part}");
        let why =
            format!("{variable} is not set; start this with `portolan up` or `portolan exec`");
        env::var(&variable).context(why)
    };
    Ok((variable("HOST")?, port(&variable("PORT")?)?))
}

/// Returns the port to listen on from `PORT`.
///
/// # Errors
/// The variable is not set, or is not a port.
pub fn own_port() -> Result<u16> {
    port(&env::var("PORT").context("PORT is not set; start this with `portolan run` or `up`")?)
}

fn port(text: &str) -> Result<u16> {
    text.parse().with_context(|| format!("{text:?} is not a port from 1 to 65535"))
}

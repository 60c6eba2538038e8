//! What is logged on standard error.

use portolan_server::{LogFormat, LoggingConfig};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::Global;
use crate::exit::Failure;

/// Starts logging: as the flags say, else as the settings say, else `info` for a server, whose
/// output is its log, and `warn` for a command, whose output is its result.
pub(crate) fn start(
    config: &LoggingConfig,
    global: &Global,
    is_server: bool,
) -> Result<(), Failure> {
    let usual = if is_server { "info" } else { "warn" };
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => config.level.as_deref().unwrap_or(usual),
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = EnvFilter::builder().parse(level).map_err(|error| {
        Failure::usage(format_args!(
            "logging.level {level:?}: {error}; use error, warn, info, debug or trace"
        ))
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => registry.with(layer.with_ansi(colour())).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(())
}

/// Colour only on a terminal, and not where <https://no-color.org> asks for none.
fn colour() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

//! The log on standard error.

use std::io;

use portolan_server::{LogFormat, LoggingConfig};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::exit::Failure;
use crate::global::Global;
use crate::output;

const REMEDY: &str =
    "use error, warn, info, debug or trace, or a filter such as info,portolan_broadcast=debug";

/// Starts logging at the level of the flags, else of the settings, else at the default of the command.
pub(crate) fn start(config: &LoggingConfig, global: &Global, default: &str) -> Result<(), Failure> {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => config.level.as_deref().unwrap_or(default),
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let registry = tracing_subscriber::registry().with(filter(level)?);
    let layer = fmt::layer().with_writer(|| Writer);
    match config.format {
        LogFormat::Text => registry.with(layer.with_ansi(use_colour())).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(())
}

/// Parses `logging.level`.
pub(crate) fn filter(level: &str) -> Result<Targets, Failure> {
    let invalid = |reason: &dyn std::fmt::Display| {
        Failure::usage(format_args!("invalid logging.level {level:?}: {reason}")).remedy(REMEDY)
    };
    // The parser would take an unknown level for the name of a module, and log nothing else.
    let is_level = |part: &str| part.contains('=') || is_level_name(part);
    if let Some(part) = level.split(',').map(str::trim).find(|part| !is_level(part)) {
        return Err(invalid(&format_args!("unknown level {part:?}")));
    }
    level.parse().map_err(|error| invalid(&error))
}

fn is_level_name(word: &str) -> bool {
    !word.is_empty() && word.parse::<LevelFilter>().is_ok()
}

/// Writes each line with [`output::above`], so that it appears above a live table.
struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        output::above(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether to use colour: on a terminal, unless NO_COLOR is set (<https://no-color.org>).
fn use_colour() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_accepted() {
        for level in
            ["error", "WARN", "off", "info,portolan_broadcast=debug", "portolan_client=trace"]
        {
            assert!(filter(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn invalid_filters_are_rejected_with_a_remedy() {
        for level in ["debgu", "", "info,portolan_broadcast", "a=b", "[request]"] {
            let failure = filter(level).unwrap_err();
            assert!(failure.to_string().contains("remedy: use error, warn, info"), "{failure}");
        }
    }
}

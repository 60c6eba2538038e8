//! What is logged on standard error.

use std::io;

use portolan_server::{LogFormat, LoggingConfig};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::Global;
use crate::exit::Failure;
use crate::output;

/// Starts logging: as the flags say, else as the settings say, else at the command's usual level.
pub(crate) fn start(config: &LoggingConfig, global: &Global, usual: &str) -> Result<(), Failure> {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => config.level.as_deref().unwrap_or(usual),
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let registry = tracing_subscriber::registry().with(filter(level)?);
    let layer = fmt::layer().with_writer(|| Writer);
    match config.format {
        LogFormat::Text => registry.with(layer.with_ansi(colour())).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(())
}

/// Reads `logging.level`.
pub(crate) fn filter(level: &str) -> Result<Targets, Failure> {
    let wrong = |problem: &dyn std::fmt::Display| {
        Failure::usage(format_args!(
            "logging.level: {level:?} is no filter ({problem}); use error, warn, info, debug or \
             trace, or write it like info,portolan_broadcast=debug"
        ))
    };
    // A filter takes a lone word that is no level for the name of a module, and logs nothing else.
    let is_level = |part: &str| part.contains('=') || is_word_for_level(part);
    if let Some(part) = level.split(',').map(str::trim).find(|part| !is_level(part)) {
        return Err(wrong(&format_args!("{part:?} is no level")));
    }
    level.parse().map_err(|error| wrong(&error))
}

fn is_word_for_level(word: &str) -> bool {
    !word.is_empty() && word.parse::<LevelFilter>().is_ok()
}

/// Writes each line where [`output::above`] does, so that it does not tear a live table.
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

/// Colour only on a terminal, and not where <https://no-color.org> asks for none.
fn colour() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_a_filter_is_taken() {
        for level in
            ["error", "WARN", "off", "info,portolan_broadcast=debug", "portolan_client=trace"]
        {
            assert!(filter(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn what_would_silence_the_log_by_mistake_is_refused_with_a_remedy() {
        for level in ["debgu", "", "info,portolan_broadcast", "a=b", "[request]"] {
            let failure = filter(level).unwrap_err();
            assert!(failure.message.contains("use error, warn, info"), "{}", failure.message);
        }
    }
}

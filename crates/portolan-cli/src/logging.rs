//! The log on standard error.

use std::io;

use portolan_audit::AuditGuard;
use portolan_core::escaped_line;
use portolan_metrics::Metrics;
use portolan_server::{LogFormat, LoggingConfig};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{self, JsonFields};
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::exit::Failure;
use crate::global::Global;
use crate::output;

const REMEDY: &str =
    "use error, warn, info, debug or trace, or a filter such as info,portolan_broadcast=debug";

/// Starts logging at the level of the flags, else of the settings, else at the default of the command.
/// With `eager`, an audit log that cannot be opened is a failure; without, a warning once there is something to record.
pub(crate) fn start(
    config: &LoggingConfig,
    global: &Global,
    default: &'static str,
    metrics: Metrics,
    eager: bool,
) -> Result<(Option<AuditGuard>, LogLevel), Failure> {
    let by_flag = match (global.quiet, global.verbose) {
        (true, _) => Some("error"),
        (false, 0) => None,
        (false, 1) => Some("info"),
        (false, _) => Some("debug"),
    };
    let level = by_flag.or(config.level.as_deref()).unwrap_or(default);
    let (audit, guard) = portolan_audit::start(&config.audit, metrics)?.unzip();
    let has_audit = audit.is_some();
    let filter_of = move |level: &str| {
        let filter = filter(level)?;
        Ok::<_, Failure>(match has_audit {
            true => filter.with_target(portolan_audit::TARGET, LevelFilter::OFF),
            false => filter,
        })
    };
    let (filter, handle) = reload::Layer::new(filter_of(level)?);
    let change = move |config: &LoggingConfig| {
        let filter = filter_of(by_flag.or(config.level.as_deref()).unwrap_or(default))?;
        handle.reload(filter).map_err(Failure::failed)
    };
    let audited = Targets::new().with_target(portolan_audit::TARGET, LevelFilter::INFO);
    let registry =
        tracing_subscriber::registry().with(audit.map(|audit| audit.with_filter(audited)));
    // The colour is added after escaping, so that no sequence of a field gets through.
    let layer = fmt::layer().with_writer(|| Writer).with_ansi(false);
    let (text, json) = (fmt::format(), fmt::format().json().flatten_event(true));
    match config.format {
        LogFormat::Text => {
            let format = OneLine { inner: text, colour: use_colour() };
            registry.with(layer.event_format(format).with_filter(filter)).init();
        }
        LogFormat::Json => {
            let format = OneLine { inner: json, colour: false };
            let layer = layer.fmt_fields(JsonFields::new()).event_format(format);
            registry.with(layer.with_filter(filter)).init();
        }
    }
    if let Some(guard) = guard.as_ref().filter(|_| eager) {
        // Its warnings reach the log from here on.
        guard.open()?;
    }
    Ok((guard, LogLevel(Box::new(change))))
}

/// Changes the level of the log while it is written.
pub(crate) struct LogLevel(Box<SetLevel>);

/// Sets the level of the settings.
type SetLevel = dyn Fn(&LoggingConfig) -> Result<(), Failure> + Send + Sync;

impl LogLevel {
    /// Uses the level of these settings from now on, unless a flag decides.
    pub(crate) fn replace(&self, config: &LoggingConfig) -> Result<(), Failure> {
        (self.0)(config)
    }
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

/// Writes each event as one line whatever its fields contain: a peer must not be able to add lines to the log, or
/// control the terminal.
struct OneLine<F> {
    inner: F,
    colour: bool,
}

impl<S, N, F> FormatEvent<S, N> for OneLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, format::Writer::new(&mut line), event)?;
        let line = escaped_line(line.strip_suffix('\n').unwrap_or(&line));
        match self.colour {
            true => writeln!(writer, "{}", coloured(&line, *event.metadata().level())),
            false => writeln!(writer, "{line}"),
        }
    }
}

/// Colours the level, which follows the time.
fn coloured(line: &str, level: Level) -> String {
    let colour = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        _ => 35,
    };
    match line.split_once(level.as_str()) {
        Some((time, rest)) => format!("\x1b[2m{time}\x1b[0m\x1b[{colour}m{level}\x1b[0m{rest}"),
        None => line.to_owned(),
    }
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
    fn event_is_one_line_whatever_its_fields_contain() {
        use tracing_subscriber::layer::SubscriberExt as _;

        #[derive(Clone, Default)]
        struct Lines(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().extend(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let reason = "x\n2026 INFO audit: forged\u{1b}[31m\u{202e}\u{9b}";
        let log = |json: bool, colour: bool| {
            let lines = Lines::default();
            let writer = lines.clone();
            let layer = fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
            let registry = tracing_subscriber::registry();
            let emit = || {
                let span = tracing::info_span!("request", path = %reason);
                let _entered = span.enter();
                tracing::info!(reason = %reason, "Dropped {reason}");
            };
            if json {
                let inner = fmt::format().json().flatten_event(true);
                let layer = layer.fmt_fields(JsonFields::new());
                let layer = layer.event_format(OneLine { inner, colour });
                tracing::subscriber::with_default(registry.with(layer), emit);
            } else {
                let layer = layer.event_format(OneLine { inner: fmt::format(), colour });
                tracing::subscriber::with_default(registry.with(layer), emit);
            }
            let bytes = lines.0.lock().clone();
            String::from_utf8(bytes).unwrap()
        };
        for (json, colour) in [(false, false), (false, true), (true, false)] {
            let text = log(json, colour);
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            assert!(!text.contains("\u{1b}[31m") && !text.contains('\u{202e}'), "{text:?}");
            assert!(!text.contains('\u{9b}'), "{text:?}");
            assert_eq!(text.contains("\u{1b}[32mINFO"), colour, "{text:?}");
        }
        let value: serde_json::Value = serde_json::from_str(&log(true, false)).unwrap();
        assert_eq!(value["reason"], reason, "JSON keeps the value");
    }

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

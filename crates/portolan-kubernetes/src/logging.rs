//! The log on standard error: one line an event, whatever a cluster says.

use std::io::{self, Write};

use portolan_core::escaped_line;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::Options;

/// Writes each event, which comes in one piece, as one line without control characters.
struct Lines;

/// Starts logging at the level of the flags, else at the default of the command.
pub(crate) fn start(options: &Options, default: &str) {
    let own = match (options.quiet, options.verbose) {
        (true, _) => "error",
        (false, 0) => default,
        (false, 1) => "info",
        (false, _) => "debug",
    };
    // The client of Kubernetes logs each of its attempts; what matters is reported once by this program.
    let filter: Targets =
        format!("off,portolan_kubernetes={own},portolan_client={own}").parse().unwrap_or_default();
    let layer = fmt::layer().with_writer(|| Lines).with_ansi(false);
    tracing_subscriber::registry().with(layer).with(filter).init();
}

impl Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        writeln!(io::stderr().lock(), "{}", escaped_line(text.trim_end()))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

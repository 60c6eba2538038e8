//! Output: results on standard output, messages on standard error.
//!
//! A closed standard output, as after `| head`, is not an error: printing then ends the program.

pub(crate) mod background;
mod controls;
mod live;
mod progress;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::exit;

use comfy_table::{Table, presets};
use portolan_core::escaped;
use serde::Serialize;

use crate::exit::{Exit, Failure};

pub(crate) use controls::without_controls;
pub(crate) use live::above;
pub(crate) use progress::{ProgressLine, show_progress};

/// Prints a line on standard output, and ends the program if standard output is closed. For commands
/// without cleanup; the others call [`try_line`].
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    printed(try_line(text))
}

/// Prints a text as it is on standard output, with the same end as [`line()`].
#[cfg(feature = "full")]
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

#[allow(clippy::disallowed_methods, reason = "ends commands without cleanup only")]
fn printed(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => exit(Exit::Done.code().into()),
        _ => cannot_print(&error),
    })
}

/// Prints a line on standard output; a closed standard output is an error.
pub(crate) fn try_line(text: impl std::fmt::Display) -> io::Result<()> {
    if background::is_started() {
        return background::line(format!("{text}\n"));
    }
    let mut out = io::stdout().lock();
    let written = if out.is_terminal() {
        writeln!(out, "{}", escaped(&text.to_string()))
    } else {
        writeln!(out, "{text}")
    };
    written.and_then(|()| out.flush())
}

/// Prints a value as one line of JSON on standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(value).map_err(Failure::failed)?)
}

/// Prints a message on standard error, and ignores errors. It is escaped everywhere, because standard error is for people,
/// who read it later in the log of a service too.
pub(crate) fn note(text: impl std::fmt::Display) {
    above(format!("{}\n", escaped(&text.to_string())).as_bytes());
}

/// Prints a warning on standard error.
pub(crate) fn warning(text: impl std::fmt::Display) {
    note(format_args!("warning: {text}"));
}

/// Creates a table with a header and without borders.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Returns the failure for an error of standard output.
pub(crate) fn cannot_print(error: &io::Error) -> Failure {
    Failure::failed(format_args!("cannot write to standard output: {error}"))
}

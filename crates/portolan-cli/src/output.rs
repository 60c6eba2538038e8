//! What is printed: results on standard output, words for people on standard error.
//!
//! A reader that closes its end, as `head` does, is no failure of ours: printing then ends the
//! program without a word.

mod live;

use std::io::{self, Write as _};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::exit::{Exit, Failure};

pub(crate) use live::{above, leave_live, live};

/// Prints a line on standard output. Without a reader that ends the program, so this is for
/// commands that leave nothing behind; the others call [`try_line`].
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    try_line(text).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => std::process::exit(Exit::Done.code().into()),
        _ => cannot_print(&error),
    })
}

/// Prints a line on standard output, and tells where nobody reads it.
pub(crate) fn try_line(text: impl std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush())
}

/// Prints a value as one line of JSON on standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(value).map_err(Failure::failed)?)
}

/// Prints a line for a person on standard error. Where even that fails there is nobody to tell.
pub(crate) fn note(text: impl std::fmt::Display) {
    above(format!("{text}\n").as_bytes());
}

/// A table in the project's plain style: a header, columns, no frames.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// The failure to print.
pub(crate) fn cannot_print(error: &io::Error) -> Failure {
    Failure::failed(format_args!("cannot write to standard output: {error}"))
}

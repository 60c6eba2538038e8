//! What is printed: results on standard output, words for people on standard error.
//!
//! A reader that closes its end, as `head` does, is no failure of ours: printing then ends the
//! program without a word.

use std::io::{self, Write as _};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::exit::{Exit, Failure};

/// Prints a line on standard output.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(cannot_print)
}

/// Prints a value as one line of JSON on standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(value).map_err(Failure::failed)?)
}

/// Prints a line for a person on standard error. Where even that fails there is nobody to tell.
pub(crate) fn note(text: impl std::fmt::Display) {
    _ = writeln!(io::stderr().lock(), "{text}");
}

/// A table in the project's plain style: a header, columns, no frames.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn cannot_print(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(Exit::Done.code().into());
    }
    Failure::failed(format_args!("cannot write to standard output: {error}"))
}

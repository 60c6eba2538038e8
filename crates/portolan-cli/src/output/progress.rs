//! One line at the bottom of standard error that shows what a command does now. Messages and the log are
//! printed above it, and it is removed before the result is printed.

use std::io::{self, IsTerminal as _, Write as _};

use parking_lot::Mutex;
use portolan_core::escaped_line;

use super::background::write_all;
use crate::context::Context;

/// The width of a terminal that does not report one.
const DEFAULT_WIDTH: usize = 80;
/// The minimum width: less would show nothing useful.
const MIN_WIDTH: usize = 20;
/// Moves the cursor to the start of the line and erases the line (ECMA-48).
const ERASE: &str = "\r\x1b[K";

static LINE: Mutex<Line> = Mutex::new(Line { enabled: false, text: String::new() });

struct Line {
    enabled: bool,
    text: String,
}

/// Shows the line as long as it lives; dropping it removes the line.
#[derive(Debug)]
pub(crate) struct ProgressLine(());

// === impl ProgressLine ===

impl ProgressLine {
    /// Starts to show progress if a person reads standard error: a terminal that understands control sequences,
    /// without `--quiet` and `--json`.
    pub(crate) fn start(context: &Context) -> Self {
        let is_readable = !context.quiet && !context.json && io::stderr().is_terminal();
        LINE.lock().enabled =
            is_readable && understands_sequences(std::env::var_os("TERM").as_deref());
        Self(())
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        let mut line = LINE.lock();
        line.erase();
        *line = Line { enabled: false, text: String::new() };
    }
}

/// Replaces the text of the line, if progress is shown.
pub(crate) fn show_progress(text: impl std::fmt::Display) {
    let mut line = LINE.lock();
    if line.enabled {
        line.erase();
        line.text = text.to_string();
        line.draw();
    }
}

/// Writes on standard error above the line.
pub(super) fn above_progress(text: &[u8]) {
    let line = LINE.lock();
    line.erase();
    // Errors of standard error cannot be reported anywhere.
    _ = write_all(io::stderr(), text);
    line.draw();
}

// === impl Line ===

impl Line {
    fn erase(&self) {
        if !self.text.is_empty() {
            _ = io::stderr().lock().write_all(ERASE.as_bytes());
        }
    }

    fn draw(&self) {
        let width = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col);
        if let Some(text) = fitting(&self.text, width.into()) {
            _ = io::stderr().lock().write_all(text.as_bytes());
        }
    }
}

/// Returns the text cut to the width (0 if unknown), so that it takes one line; `None` if nothing is shown.
fn fitting(text: &str, width: usize) -> Option<String> {
    let width = if width == 0 { DEFAULT_WIDTH } else { width };
    if text.is_empty() || width < MIN_WIDTH {
        return None;
    }
    // A full line would move the cursor to the next one on some terminals.
    Some(escaped_line(text).chars().take(width - 1).collect())
}

/// Returns whether a terminal of this type understands control sequences, by convention of `TERM`.
fn understands_sequences(terminal: Option<&std::ffi::OsStr>) -> bool {
    terminal.is_some_and(|terminal| !terminal.is_empty() && terminal != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_fits_the_terminal() {
        let text = "looking for a-service-with-a-long-name: asking registry";
        assert_eq!(fitting(text, 200).as_deref(), Some(text));
        assert_eq!(fitting(text, 30).unwrap().len(), 29);
        assert_eq!(fitting(&"x".repeat(200), 0).unwrap().len(), DEFAULT_WIDTH - 1);
        assert_eq!(fitting(text, 5), None);
        assert_eq!(fitting("", 80), None);
    }

    #[test]
    fn name_cannot_move_the_cursor() {
        assert!(!fitting("\x1b[2J", 80).unwrap().contains('\x1b'));
    }

    #[test]
    fn dumb_terminal_gets_no_control_sequences() {
        let understands = |terminal: &str| understands_sequences(Some(terminal.as_ref()));
        assert!(understands("xterm-256color"));
        assert!(!understands("dumb") && !understands("") && !understands_sequences(None));
    }
}

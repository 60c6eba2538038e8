//! A live text at the bottom of the terminal. Messages and the log are printed above it.

use parking_lot::Mutex;
use std::fmt::Write as _;
use std::io;

use super::background::{self, write_all};
use super::progress::above_progress;

/// The live text of the terminal.
static LIVE: Mutex<Live> = Mutex::new(Live { text: String::new(), drawn: 0 });

struct Live {
    text: String,
    /// The number of lines to erase before other output.
    drawn: usize,
}

/// Replaces the live text.
pub(super) fn live_now(text: String) -> io::Result<()> {
    let mut live = LIVE.lock();
    let erased = live.erased();
    live.text = text;
    live.draw(&erased)
}

/// Prints on standard output, above the live text.
pub(super) fn out_now(text: &str) -> io::Result<()> {
    let mut live = LIVE.lock();
    let erased = live.erased();
    write_all(io::stdout(), format!("{erased}{text}").as_bytes())?;
    live.draw("")
}

/// Prints on standard error, above the live text; in the background if output has threads of its own.
pub(crate) fn above(text: &[u8]) {
    if !background::above(text) {
        above_now(text);
    }
}

pub(super) fn above_now(text: &[u8]) {
    let mut live = LIVE.lock();
    // Standard error may be a file that outlives the terminal; errors cannot be reported anywhere.
    _ = write_all(io::stdout(), live.erased().as_bytes());
    above_progress(text);
    _ = live.draw("");
}

// === impl Live ===

impl Live {
    /// Returns the control sequences that erase the text line by line (ECMA-48: cursor up, erase
    /// line). Some terminals copy the text to their history if it is erased at once.
    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            drawn => format!("\r\x1b[K{}", "\x1b[A\x1b[2K".repeat(drawn)),
        }
    }

    fn draw(&mut self, before: &str) -> io::Result<()> {
        let height = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_row);
        let (text, lines) = drawing(&self.text, height.into());
        write_all(io::stdout(), format!("{before}{text}").as_bytes())?;
        self.drawn = lines;
        Ok(())
    }
}

/// Returns the text for a terminal of this height (0 if unknown) and its number of lines. Lines that
/// do not fit could not be erased, so they are left out. The terminal cuts wide lines (DECAWM), so
/// that each takes one line.
fn drawing(text: &str, height: usize) -> (String, usize) {
    let count = text.lines().count();
    if count == 0 {
        return (String::new(), 0);
    }
    // The cursor is in the line below the text.
    let room = if height == 0 { count } else { height.saturating_sub(1) };
    let shown = if count > room { room.saturating_sub(1) } else { count };
    let mut drawn = String::from("\x1b[?7l");
    for line in text.lines().take(shown) {
        _ = writeln!(drawn, "{line}");
    }
    if shown < count {
        _ = writeln!(drawn, " ... and {} more lines", count - shown);
    }
    drawn.push_str("\x1b[?7h");
    (drawn, shown + usize::from(shown < count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_fits_is_drawn_without_wrapping() {
        assert_eq!(drawing("a\nb", 24), ("\x1b[?7la\nb\n\x1b[?7h".to_owned(), 2));
        assert_eq!(drawing("", 24), (String::new(), 0));
    }

    #[test]
    fn only_lines_that_can_be_erased_are_drawn() {
        let (text, lines) = drawing("a\nb\nc\nd", 4);
        assert_eq!(lines, 3);
        assert!(text.contains("a\nb\n ... and 2 more lines\n"), "{text}");
        for height in 1..4 {
            assert!(drawing("a\nb\nc\nd", height).1 <= height);
        }
    }

    #[test]
    fn all_lines_are_drawn_if_the_height_is_unknown() {
        assert_eq!(drawing("a\nb\nc", 0).1, 3);
    }
}

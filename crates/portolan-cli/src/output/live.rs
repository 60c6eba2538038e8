//! A text that stays at the bottom of the terminal and is kept current, while everything for
//! people, the log included, is printed above it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// There is one terminal, so there is one of these.
static LIVE: Mutex<Live> = Mutex::new(Live { text: String::new(), drawn: 0 });

struct Live {
    text: String,
    /// How many lines of the terminal are to be taken back before anything else is printed.
    drawn: usize,
}

/// Shows this text at the bottom of the terminal, instead of the one before.
pub(crate) fn live(text: String) -> io::Result<()> {
    let mut live = lock();
    let erased = live.erased();
    live.text = text;
    live.draw(&erased)
}

/// Leaves the text where it is; what is printed from now on comes below it.
pub(crate) fn leave_live() {
    *lock() = Live { text: String::new(), drawn: 0 };
}

/// Prints on standard error, above the text where there is one.
pub(crate) fn above(text: &[u8]) {
    let mut live = lock();
    let mut out = io::stdout().lock();
    // Where the terminal is gone, standard error may still be a file; nobody else can be told.
    _ = out.write_all(live.erased().as_bytes()).and_then(|()| out.flush());
    drop(out);
    _ = io::stderr().lock().write_all(text);
    _ = live.draw("");
}

fn lock() -> MutexGuard<'static, Live> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Live ===

impl Live {
    /// What clears the text from the terminal, line by line (ECMA-48: cursor up, erase line). Were
    /// all that is below erased at once, some terminals would keep a copy in their history.
    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            drawn => format!("\r\x1b[K{}", "\x1b[A\x1b[2K".repeat(drawn)),
        }
    }

    fn draw(&mut self, before: &str) -> io::Result<()> {
        let height = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_row);
        let (text, lines) = drawing(&self.text, height.into());
        let mut out = io::stdout().lock();
        write!(out, "{before}{text}")?;
        out.flush()?;
        self.drawn = lines;
        Ok(())
    }
}

/// The text as it is sent to a terminal of this height (0 where nobody knows), and how many of its
/// lines it takes. What does not fit cannot be taken back, so it is not drawn. A line that is too
/// wide is cut by the terminal (DECAWM), so that it takes one line whatever is in it.
fn drawing(text: &str, height: usize) -> (String, usize) {
    let count = text.lines().count();
    if count == 0 {
        return (String::new(), 0);
    }
    // The cursor waits in the line below.
    let room = if height == 0 { count } else { height.saturating_sub(1) };
    let shown = if count > room { room.saturating_sub(1) } else { count };
    let mut drawn = String::from("\x1b[?7l");
    for line in text.lines().take(shown) {
        _ = writeln!(drawn, "{line}");
    }
    if shown < count {
        _ = writeln!(drawn, " ... and {} lines more", count - shown);
    }
    drawn.push_str("\x1b[?7h");
    (drawn, shown + usize::from(shown < count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_fits_is_drawn_whole_and_without_wrapping() {
        assert_eq!(drawing("a\nb", 24), ("\x1b[?7la\nb\n\x1b[?7h".to_owned(), 2));
        assert_eq!(drawing("", 24), (String::new(), 0));
    }

    #[test]
    fn no_more_is_drawn_than_can_be_taken_back() {
        let (text, lines) = drawing("a\nb\nc\nd", 4);
        assert_eq!(lines, 3);
        assert!(text.contains("a\nb\n ... and 2 lines more\n"), "{text}");
        for height in 1..4 {
            assert!(drawing("a\nb\nc\nd", height).1 <= height);
        }
    }

    #[test]
    fn where_nobody_knows_the_height_all_of_it_is_drawn() {
        assert_eq!(drawing("a\nb\nc", 0).1, 3);
    }
}

//! Text from outside in logs, messages and tables.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns the text with control characters, bidirectional controls (UAX #9), invisible characters and line
/// separators as `\uXXXX`, as JSON writes them, so that a name or a reason cannot imitate other output. Line feeds stay.
pub fn escaped(text: &str) -> Cow<'_, str> {
    escape(text, |character| character != '\n' && is_deceptive(character))
}

/// Returns the same for text that is one line: line feeds are escaped too.
pub fn escaped_line(text: &str) -> Cow<'_, str> {
    escape(text, is_deceptive)
}

/// Whether a character changes how the rest of a line is shown, or is not shown itself: `Default_Ignorable_Code_Point` of the Unicode
/// Character Database, the bidirectional controls, the separators, and the blank braille pattern. Variation selectors are
/// accepted, because many emoji contain one.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{00ad}'
                | '\u{034f}'
                | '\u{061c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

fn escape(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    // Most texts are printable ASCII, which is seen at once.
    let is_plain = || text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain() || !text.contains(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            // Writing to a string does not fail.
            _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_reorder_or_hide_text_are_escaped() {
        assert_eq!(escaped("api 127.0.0.1:80 ok"), "api 127.0.0.1:80 ok");
        assert_eq!(escaped("a\u{202e}b\u{2028}c\x1b[31m"), "a\\u202eb\\u2028c\\u001b[31m");
        assert_eq!(escaped("zwj\u{200d} bom\u{feff} c1\u{9b}"), "zwj\\u200d bom\\ufeff c1\\u009b");
        assert_eq!(escaped("größe\nzwei"), "größe\nzwei");
    }

    #[test]
    fn characters_that_nothing_shows_are_escaped() {
        for hidden in ['\u{ad}', '\u{180e}', '\u{2800}', '\u{3164}', '\u{e0041}'] {
            assert_eq!(
                escaped(&format!("1.0{hidden}")),
                format!("1.0\\u{:04x}", u32::from(hidden))
            );
        }
        assert_eq!(escaped("größe 東京 \u{26a0}\u{fe0f}"), "größe 東京 \u{26a0}\u{fe0f}");
    }

    #[test]
    fn line_feed_is_escaped_in_one_line() {
        assert_eq!(escaped_line("größe\nzwei"), "größe\\u000azwei");
    }
}

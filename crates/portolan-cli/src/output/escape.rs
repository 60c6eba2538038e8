//! Escapes characters that change how a terminal shows the rest of a line.

use std::borrow::Cow;

/// Returns the text with control characters, bidirectional controls (UAX #9) and line separators as
/// `\\uXXXX`, as JSON writes them, so that a name or a reason cannot imitate other output.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            out.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

fn is_unsafe(character: char) -> bool {
    (character.is_control() && character != '\n')
        || matches!(
            character,
            '\u{061c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_reorder_or_hide_text_are_escaped() {
        assert_eq!(escaped("api 127.0.0.1:80 ok"), "api 127.0.0.1:80 ok");
        assert_eq!(escaped("a\u{202e}b\u{2028}c\x1b[31m"), "a\\u202eb\\u2028c\\u001b[31m");
        assert_eq!(escaped("zwj\u{200d} bom\u{feff}"), "zwj\\u200d bom\\ufeff");
        assert_eq!(escaped("größe\nzwei"), "größe\nzwei");
    }
}

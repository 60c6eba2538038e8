//! Quotes text from outside in error messages and logs.

use std::borrow::Cow;

use crate::escaped_line;

/// The most characters of the text that are shown.
const LIMIT: usize = 80;

/// The most characters of a reason that quotes text from outside.
const REASON_LIMIT: usize = 200;

/// Returns the first 200 characters of the text; `…` marks that it is longer.
pub fn bounded(text: &str) -> String {
    match text.char_indices().nth(REASON_LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns the text as one word of a POSIX shell, for commands that a person copies: in single quotation marks unless it
/// needs none, with characters that a terminal interprets escaped.
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_~".contains(c);
    if !text.is_empty() && !text.starts_with('~') && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", escaped_line(text).replace('\'', r"'\''")))
}

/// Returns the text in double quotes, with control characters and quotes escaped. Only the first 80
/// characters are shown, and `…` behind the closing quote marks that the text is longer.
pub fn quoted(text: &str) -> String {
    let shown = text.char_indices().nth(LIMIT).map_or(text, |(end, _)| &text[..end]);
    let mark = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{mark}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_of_a_shell_is_quoted_if_it_must_be() {
        assert_eq!(shell_word("/run/user/0/portolan"), "/run/user/0/portolan");
        assert_eq!(shell_word("/tmp/a b;$(x)"), "'/tmp/a b;$(x)'");
        assert_eq!(shell_word("it's\u{1b}"), r"'it'\''s\u001b'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn quoted_text_is_escaped_and_bounded() {
        assert_eq!(quoted(""), r#""""#);
        assert_eq!(quoted("a\n\"\u{1b}[2J"), r#""a\n\"\u{1b}[2J""#);
        assert_eq!(quoted(&"é".repeat(LIMIT)), format!("\"{}\"", "é".repeat(LIMIT)));
        assert_eq!(quoted(&"é".repeat(LIMIT + 1)), format!("\"{}\"…", "é".repeat(LIMIT)));
    }
}

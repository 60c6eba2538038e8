//! Quotes text from outside in error messages and logs.

/// The most characters of the text that are shown.
const LIMIT: usize = 80;

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
    fn quoted_text_is_escaped_and_bounded() {
        assert_eq!(quoted(""), r#""""#);
        assert_eq!(quoted("a\n\"\u{1b}[2J"), r#""a\n\"\u{1b}[2J""#);
        assert_eq!(quoted(&"é".repeat(LIMIT)), format!("\"{}\"", "é".repeat(LIMIT)));
        assert_eq!(quoted(&"é".repeat(LIMIT + 1)), format!("\"{}\"…", "é".repeat(LIMIT)));
    }
}

//! Quotes text from outside in error messages and logs.

use std::path::Path;

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

/// Returns the text in double quotes, with control characters and quotes escaped. Only the first 80
/// characters are shown, and `…` behind the closing quote marks that the text is longer.
pub fn quoted(text: &str) -> String {
    let shown = text.char_indices().nth(LIMIT).map_or(text, |(end, _)| &text[..end]);
    let mark = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{mark}")
}

/// Returns the path as one word of a shell command that a person can copy. Control characters, which could act on
/// the terminal, and bytes that are not UTF-8 are escaped as in `$'\n'`.
pub fn shell_word(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:@%=,".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    if bytes.iter().all(|byte| (b' '..0x7f).contains(byte)) {
        let text = String::from_utf8_lossy(bytes);
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let escaped = |byte: &u8| match byte {
        b' '..0x7f if !br"'\".contains(byte) => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    };
    format!("$'{}'", bytes.iter().map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_becomes_one_word_that_the_shell_reads_back() {
        let word = |path: &str| shell_word(Path::new(path));
        assert_eq!(word("/run/user/1000/portolan"), "/run/user/1000/portolan");
        assert_eq!(word(""), "''");
        assert_eq!(word("/tmp/a b;$(id)"), "'/tmp/a b;$(id)'");
        assert_eq!(word("/tmp/it's"), r"'/tmp/it'\''s'");
        assert_eq!(word("/tmp/\u{1b}[2J'\n"), r"$'/tmp/\x1b[2J\x27\x0a'");
        assert_eq!(word("/tmp/\u{202e}x"), r"$'/tmp/\xe2\x80\xaex'");
    }

    #[test]
    fn quoted_text_is_escaped_and_bounded() {
        assert_eq!(quoted(""), r#""""#);
        assert_eq!(quoted("a\n\"\u{1b}[2J"), r#""a\n\"\u{1b}[2J""#);
        assert_eq!(quoted(&"é".repeat(LIMIT)), format!("\"{}\"", "é".repeat(LIMIT)));
        assert_eq!(quoted(&"é".repeat(LIMIT + 1)), format!("\"{}\"…", "é".repeat(LIMIT)));
    }
}

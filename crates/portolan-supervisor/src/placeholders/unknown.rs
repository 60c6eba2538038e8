//! Texts in braces that are probably misspelt placeholders. Other programs have braces too, such as `%{http_code}` of curl, so only what
//! has a placeholder's letters is one: `{prot}`, `{PORT}`, `{ports}`, and what begins with the name of a needed service.

use super::{ADDRESS_PARTS, is_left_to_a_shell};

/// The placeholders of one word.
const WORDS: [&str; 3] = ["port", "fd", "replica"];

/// Returns the first such text with its braces, and the placeholder that it resembles.
pub(crate) fn unknown_placeholder<'a>(
    text: &str,
    needs: &(impl Iterator<Item = &'a str> + Clone),
) -> Option<(String, String)> {
    text.match_indices('{').find_map(|(at, _)| {
        let (inside, _) = text[at + 1..].split_once('}')?;
        let place = &text[at..at + inside.len() + 2];
        let similar = similar_word(inside).or_else(|| similar_address(inside, needs.clone()));
        let similar = similar.filter(|_| !is_left_to_a_shell(text, at, place))?;
        Some((place.to_owned(), similar))
    })
}

fn similar_word(inside: &str) -> Option<String> {
    let (word, name) = match inside.split_once(':') {
        Some((word, name)) => (word, format!(":{name}")),
        None => (inside, String::new()),
    };
    let known = WORDS.into_iter().find(|known| word != *known && has_letters_of(word, known))?;
    Some(format!("{{{known}{name}}}"))
}

/// Whether the words differ in case, in the order of their letters, or in one additional letter at the end.
fn has_letters_of(word: &str, known: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let sorted = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    sorted(&lower) == sorted(known) || lower.strip_suffix('s') == Some(known)
}

fn similar_address<'a>(inside: &str, mut needs: impl Iterator<Item = &'a str>) -> Option<String> {
    let (need, part) = inside.split_once('.').unwrap_or((inside, ""));
    let is_known = ADDRESS_PARTS.contains(&part);
    let need = needs.find(|known| *known == need).filter(|_| !is_known)?;
    let parts = ADDRESS_PARTS.map(|part| format!("{{{need}.{part}}}"));
    Some(parts.join(", "))
}

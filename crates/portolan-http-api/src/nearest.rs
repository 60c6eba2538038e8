//! The known word that is nearest to a misspelt one.

/// The candidate with the fewest changes of a character between it and the text; the first of
/// several that are equally near.
pub(crate) fn of<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.min_by_key(|candidate| distance(text, candidate))
}

/// How many characters must be put in, left out or exchanged (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, c) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, d) in other.iter().enumerate() {
            let exchanged = diagonal + usize::from(c != *d);
            diagonal = row[column + 1];
            row[column + 1] = exchanged.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_takes_the_fewest_changes() {
        for (one, other, expected) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("scope", "scope", 0)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
        let words = ["name", "scope", "health"];
        assert_eq!(of("scpoe", words.into_iter()), Some("scope"));
        assert_eq!(of("nmae", words.into_iter()), Some("name"));
        assert_eq!(of("x", [].into_iter()), None);
    }
}

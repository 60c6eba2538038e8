//! "Did you mean …?": the known word nearest to a misspelt one.

/// A longer word is not a misspelling, and measuring it would only cost time.
const LONGEST: usize = 128;

/// Returns the candidate nearest to the typed word by optimal string alignment distance (a swap of
/// two neighbours is one change), ignoring case and the difference between `-` and `_`; `None` if
/// more than a third of the word, at least one and at most four characters, would have to change.
pub fn suggest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if typed.len() > LONGEST {
        return None;
    }
    let typed = normalised(typed);
    let allowed = (typed.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&typed, &normalised(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn normalised(word: &str) -> String {
    word.to_ascii_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["timeouts", "retries", "registry_url", "ttl"];

    #[test]
    fn a_misspelt_word_has_the_nearest_candidate() {
        for (typed, meant) in [
            ("timeots", "timeouts"),
            ("tiemouts", "timeouts"),
            ("Retries", "retries"),
            ("registry-url", "registry_url"),
            ("tll", "ttl"),
        ] {
            assert_eq!(suggest(typed, KEYS), Some(meant), "{typed}");
        }
    }

    #[test]
    fn a_different_word_has_no_candidate() {
        assert_eq!(suggest("interface", KEYS), None);
        assert_eq!(suggest("", KEYS), None);
        assert_eq!(suggest(&"x".repeat(5000), KEYS), None);
        assert_eq!(suggest("x", []), None);
    }
}

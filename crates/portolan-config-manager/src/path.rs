//! The path of a setting, such as `discovery.timeouts.overall`.

use std::fmt;

/// The keys from the root to a setting.
///
/// A key with a dot, such as the name of a service, is quoted: `discovery.endpoints."orders.db"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct KeyPath(Vec<String>);

// === impl KeyPath ===

impl KeyPath {
    /// Parses a path. An unclosed quote ends at the end of the text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut keys = vec![String::new()];
        let mut quoted = false;
        for c in text.chars() {
            match c {
                '"' => quoted = !quoted,
                '.' if !quoted => keys.push(String::new()),
                '[' if !quoted && keys.last().is_some_and(|key| !key.is_empty()) => {
                    keys.push("[".to_owned());
                }
                other => keys.last_mut().expect("never empty").push(other),
            }
        }
        Self(keys)
    }

    /// Returns the path of a child.
    pub(crate) fn child(&self, key: &str) -> Self {
        let mut keys = self.0.clone();
        keys.push(key.to_owned());
        Self(keys)
    }

    /// Returns the path of the parent; `None` for the root.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.0
    }

    /// Whether this path is the other path or below it.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl From<Vec<String>> for KeyPath {
    fn from(keys: Vec<String>) -> Self {
        Self(keys)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            // The index of a list item, as in `strategies[2]`, follows without a dot.
            let dot = if index == 0 || key.starts_with('[') { "" } else { "." };
            if key.contains(['.', ' ', '\n']) || key.is_empty() {
                write!(f, "{dot}\"{}\"", key.escape_debug())?;
            } else {
                write!(f, "{dot}{key}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_round_trip() {
        for text in ["a", "discovery.timeouts.overall", "endpoints.\"orders.db\".port"] {
            assert_eq!(KeyPath::parse(text).to_string(), text);
        }
        assert_eq!(KeyPath::parse("a.\"b.c\"").keys(), ["a", "b.c"]);
    }

    #[test]
    fn list_index_follows_without_a_dot() {
        let place = KeyPath::parse("strategies").child("[2]");
        assert_eq!(place.to_string(), "strategies[2]");
        assert_eq!(KeyPath::parse("strategies[2]"), place);
        assert!(place.is_within(&KeyPath::parse("strategies")));
    }
}

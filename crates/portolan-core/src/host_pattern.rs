//! Names of hosts, as settings list them: exact, or everything below a domain.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::quoted;

/// The longest name (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;

/// A name, or a pattern of names: `registry.example.org`, `*.example.org`, or `*` for every name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern(String);

/// A text that is not a name of a host. Retrying does not help: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not the name of a host, expected one such as registry.example.org or *.example.org, without a port"
)]
pub struct InvalidHostPattern(String);

// === impl HostPattern ===

impl HostPattern {
    /// Returns whether it stands for several names.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Returns whether the name matches. Neither case nor a dot at the end counts.
    pub fn matches(&self, name: &str) -> bool {
        let name = normal(name);
        match self.0.strip_prefix('*') {
            Some("") => true,
            // `*.example.org` matches neither `example.org` nor `.example.org`.
            Some(domain) => name.strip_suffix(domain).is_some_and(|label| !label.is_empty()),
            None => name == self.0,
        }
    }
}

impl FromStr for HostPattern {
    type Err = InvalidHostPattern;

    fn from_str(text: &str) -> Result<Self, InvalidHostPattern> {
        let pattern = normal(text);
        let name = pattern.strip_prefix("*.").unwrap_or(&pattern);
        let is_label = |label: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            (1..=63).contains(&label.len()) && label.bytes().all(is_plain)
        };
        let is_name = name.len() <= MAX_NAME && name.split('.').all(is_label);
        match is_name || text == "*" {
            true => Ok(Self(pattern)),
            false => Err(InvalidHostPattern(quoted(text))),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = InvalidHostPattern;
    fn try_from(text: String) -> Result<Self, InvalidHostPattern> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_matches_its_names_only() {
        for (pattern, matching, other) in [
            ("registry.example.org", "Registry.example.ORG.", "a.registry.example.org"),
            ("*.example.org", "a.b.example.org", "example.org"),
            ("*.example.org", "a.example.org", "evilexample.org"),
            ("*.example.org", "a.example.org", ".example.org"),
            ("registry", "registry", "registry.example.org"),
        ] {
            let parsed: HostPattern = pattern.parse().unwrap();
            assert!(parsed.matches(matching), "{pattern} {matching}");
            assert!(!parsed.matches(other), "{pattern} {other}");
        }
        assert!("*".parse::<HostPattern>().unwrap().matches("anything.example"));
    }

    #[test]
    fn text_that_is_not_a_name_is_rejected() {
        let long = "a.".repeat(127) + "a";
        for text in ["", "*.", "a..b", "http://a", "a:7000", "a*", "*a", "a b", "[::1]", &long] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
        }
    }
}

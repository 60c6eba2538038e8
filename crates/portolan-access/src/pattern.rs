//! Patterns of names: `payments`, `payments-*`, `*`.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use portolan_core::{Scope, ServiceName};
use serde::{Deserialize, Serialize};

/// A kind of name that patterns match.
pub trait Name: FromStr<Err: fmt::Display> {
    /// The name as text.
    fn text(&self) -> &str;
    /// The text as it is compared.
    fn normalized(text: &str) -> String;
}

/// A name, the beginning of one with `*` at its end, or `*` for every name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String", bound = "N: Name + Clone")]
pub struct Pattern<N> {
    text: String,
    is_prefix: bool,
    names: PhantomData<fn() -> N>,
}

/// A text that is not a pattern. Retrying does not help: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}, or the beginning of one and '*'")]
pub struct InvalidPattern {
    problem: String,
}

// === impl Pattern ===

impl<N: Name> Pattern<N> {
    /// The pattern that matches every name.
    pub fn any() -> Self {
        Self { text: String::new(), is_prefix: true, names: PhantomData }
    }

    /// The pattern that matches this name only.
    pub fn of(name: &N) -> Self {
        Self { text: name.text().to_owned(), is_prefix: false, names: PhantomData }
    }

    /// Whether the pattern matches the name.
    pub fn matches(&self, name: &N) -> bool {
        match self.is_prefix {
            true => name.text().starts_with(&self.text),
            false => name.text() == self.text,
        }
    }
}

impl<N: Name> FromStr for Pattern<N> {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let prefix = text.strip_suffix('*');
        let (name, is_prefix) = (prefix.unwrap_or(text), prefix.is_some());
        let invalid = |error: N::Err| InvalidPattern { problem: error.to_string() };
        let text = match (name, is_prefix) {
            ("", true) => String::new(),
            (_, true) => name.parse::<N>().map(|_| N::normalized(name)).map_err(invalid)?,
            (_, false) => name.parse::<N>().map_err(invalid)?.text().to_owned(),
        };
        Ok(Self { text, is_prefix, names: PhantomData })
    }
}

impl<N: Name> TryFrom<String> for Pattern<N> {
    type Error = InvalidPattern;
    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        text.parse()
    }
}

impl<N> From<Pattern<N>> for String {
    fn from(pattern: Pattern<N>) -> Self {
        pattern.to_string()
    }
}

impl<N> fmt::Display for Pattern<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.is_prefix { "*" } else { "" })
    }
}

impl Name for ServiceName {
    fn text(&self) -> &str {
        self.as_str()
    }

    fn normalized(text: &str) -> String {
        text.to_ascii_lowercase()
    }
}

impl Name for Scope {
    fn text(&self) -> &str {
        self.as_str()
    }

    fn normalized(text: &str) -> String {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches<N: Name<Err: fmt::Debug>>(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern<N>>().unwrap().matches(&name.parse().unwrap())
    }

    #[test]
    fn pattern_matches_one_name_or_a_beginning() {
        assert!(matches::<ServiceName>("*", "api"));
        assert!(matches::<ServiceName>("Payments-*", "payments-api"));
        assert!(matches::<ServiceName>("api.", "API"));
        assert!(!matches::<ServiceName>("payments-*", "payments"));
        assert!(!matches::<ServiceName>("a.*", "abc"), "the dot counts in a beginning");
        assert!(!matches::<ServiceName>("api", "api-2"));
        assert!(matches::<Scope>("prod*", "production"));
        assert!(!matches::<Scope>("prod*", "Production"), "scopes are case-sensitive");
    }

    #[test]
    fn text_that_no_name_begins_with_is_refused() {
        for text in ["", "a*b", "-*", "**", "a b*", "päy*"] {
            let error = text.parse::<Pattern<ServiceName>>().unwrap_err();
            assert!(error.to_string().ends_with("or the beginning of one and '*'"), "{error}");
        }
    }
}

//! serde errors with their place, in words for the author of a configuration.

use std::fmt;

use portolan_core::suggest;
use serde::de::{self, Expected, Unexpected};

use crate::Origin;
use crate::error::Problem;
use crate::path::KeyPath;

/// The maximum number of known names in an error.
const LISTED: usize = 16;

/// A deserialization error. Each level adds its key on the way up.
#[derive(Debug)]
pub(crate) struct DeError {
    /// The keys of the path, the innermost first.
    keys: Vec<String>,
    origin: Option<Origin>,
    message: String,
}

// === impl DeError ===

impl DeError {
    /// Sets the place, unless a deeper level has set it.
    pub(crate) fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    /// Adds the key of this level.
    pub(crate) fn within(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// Converts the error into a problem; `path` is the path of the value that was read.
    pub(crate) fn into_problem(self, path: &KeyPath) -> Problem {
        let keys = path.keys().iter().cloned().chain(self.keys.into_iter().rev());
        Problem {
            origin: self.origin.unwrap_or(Origin::Default),
            path: KeyPath::from(keys.collect::<Vec<_>>()).to_string(),
            message: self.message,
            remedy: None,
        }
    }
}

impl std::error::Error for DeError {}

impl fmt::Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl de::Error for DeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { keys: Vec::new(), origin: None, message: message.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        // The author of a file does not know the names of Rust types.
        let expected =
            if expected.starts_with("struct ") { "a section with settings" } else { &expected };
        let found = match found {
            Unexpected::Unit => "nothing".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a map".to_owned(),
            // A quoted value is limited to a line or two.
            found => found.to_string().chars().take(200).collect(),
        };
        Self::custom(format!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(unknown_key(field, expected)).within(field)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let meant = suggest(variant, expected.iter().copied());
        let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        Self::custom(format!("expected one of {}, found {variant:?}{hint}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("missing key `{field}`"))
    }
}

/// Returns the message for an unknown key, with the nearest known key or a list of them.
pub(crate) fn unknown_key(key: &str, expected: &[&str]) -> String {
    match suggest(key, expected.iter().copied()) {
        Some(meant) => format!("unknown key; did you mean `{meant}`?"),
        None if expected.is_empty() => "unknown key; no key is expected here".to_owned(),
        None if expected.len() > LISTED => "unknown key".to_owned(),
        None => format!("unknown key; expected one of {}", expected.join(", ")),
    }
}

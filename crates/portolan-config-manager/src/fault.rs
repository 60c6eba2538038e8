//! What serde found wrong, in words for the writer of a file, with its place.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::Origin;
use crate::error::Problem;
use crate::path::KeyPath;
use crate::suggest::nearest;

/// How many known names an error lists.
const LISTED: usize = 16;

/// What went wrong, growing its path on the way up.
#[derive(Debug)]
pub(crate) struct Fault {
    /// From the innermost key outwards.
    keys: Vec<String>,
    origin: Option<Origin>,
    message: String,
}

// === impl Fault ===

impl Fault {
    /// Notes the place, unless a deeper one is known already.
    pub(crate) fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    /// Notes the key it happened at, from the inside out.
    pub(crate) fn within(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// The problem, seen from the top; the path is the one to where reading began.
    pub(crate) fn into_problem(self, path: &KeyPath) -> Problem {
        let keys = path.keys().iter().cloned().chain(self.keys.into_iter().rev());
        Problem {
            origin: self.origin.unwrap_or(Origin::Default),
            path: KeyPath::from(keys.collect::<Vec<_>>()).to_string(),
            message: self.message,
        }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { keys: Vec::new(), origin: None, message: message.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        // The name of a Rust type says nothing to the writer of a file.
        let expected = match expected.starts_with("struct ") {
            true => "a section with settings of its own",
            false => &expected,
        };
        let found = match found {
            Unexpected::Unit => "nothing".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a map".to_owned(),
            // Whatever is quoted back stays within a line or two.
            found => found.to_string().chars().take(200).collect(),
        };
        Self::custom(format!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(unknown(field, expected)).within(field)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let meant = nearest(variant, expected.iter().copied());
        let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        Self::custom(format!("expected one of {}, found {variant:?}{hint}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("`{field}` is missing; add it"))
    }
}

/// Says that a name is not known, and which one was probably meant.
pub(crate) fn unknown(what: &str, expected: &[&str]) -> String {
    match nearest(what, expected.iter().copied()) {
        Some(meant) => format!("unknown; did you mean `{meant}`?"),
        None if expected.is_empty() => "unknown; nothing is expected here".to_owned(),
        None if expected.len() > LISTED => "unknown; remove it".to_owned(),
        None => format!("unknown; known here: {}", expected.join(", ")),
    }
}

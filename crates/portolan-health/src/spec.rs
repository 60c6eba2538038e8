//! Health checks as text: `tcp`, `http:/path`, `ttl:15s`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use portolan_core::{Host, Remedy, quoted};
use serde::{Deserialize, Serialize};

use crate::checks::BUILT_IN;
use crate::{Check, CheckKind};

/// The maximum length of a check's text in bytes; an HTTP check may have a long path.
const MAX_LENGTH: usize = 2048;
/// The text of [`CheckSpec::none`].
const NONE: &str = "none";

/// How an instance is checked: `tcp`, `tcp:HOST:PORT`, `http:/path`, `http://HOST:PORT/path`,
/// `ttl:15s` or `none`.
///
/// [`FromStr`] and serde know the built-in kinds only; [`CheckKinds::parse`] knows a program's own
/// kinds as well.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckSpec {
    text: Box<str>,
    check: Option<Arc<dyn Check>>,
}

/// The kinds of health check that can be parsed: the built-in ones, and a program's own.
#[derive(Debug, Clone)]
pub struct CheckKinds(Cow<'static, [CheckKind]>);

/// A text is not a health check. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCheck {
    /// No kind of check has this name.
    #[error("{} is not a health check; expected {expected}", quoted(.text))]
    UnknownKind {
        /// The text.
        text: String,
        /// The forms of all kinds.
        expected: String,
    },
    /// The kind exists, and the rest of the text is not valid for it.
    #[error("{} is not a valid health check: {reason}{}", quoted(.text), expected(.forms))]
    InvalidValue {
        /// The text.
        text: String,
        /// What is wrong with it, from the kind's parser.
        reason: String,
        /// The forms of the kind.
        forms: &'static [&'static str],
    },
    /// The text is too long.
    #[error("the health check has {length} bytes; expected at most {MAX_LENGTH}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

// === impl CheckSpec ===

impl CheckSpec {
    /// Creates a specification from a check of the program's own. The text is shown in logs and
    /// written by [`Display`](fmt::Display) and serde.
    pub fn new(text: impl Into<Box<str>>, check: impl Check + 'static) -> Self {
        Self { text: text.into(), check: Some(Arc::new(check)) }
    }

    /// Returns the specification of an instance that is not checked.
    pub fn none() -> Self {
        Self { text: NONE.into(), check: None }
    }

    /// Returns whether there is nothing to check.
    pub fn is_none(&self) -> bool {
        self.check.is_none()
    }

    /// Returns the check as a URL for the `health_url` of an endpoint at this host and port; `None`
    /// if others cannot run this check.
    pub fn health_url(&self, host: &Host, port: u16) -> Option<String> {
        self.check.as_ref().and_then(|check| check.health_url(host, port))
    }

    pub(crate) fn check(&self) -> Option<&Arc<dyn Check>> {
        self.check.as_ref()
    }
}

impl FromStr for CheckSpec {
    type Err = InvalidCheck;

    fn from_str(text: &str) -> Result<Self, InvalidCheck> {
        CheckKinds::built_in().parse(text)
    }
}

impl TryFrom<String> for CheckSpec {
    type Error = InvalidCheck;
    fn try_from(text: String) -> Result<Self, InvalidCheck> {
        text.parse()
    }
}

impl From<CheckSpec> for String {
    fn from(spec: CheckSpec) -> String {
        spec.text.into_string()
    }
}

impl fmt::Display for CheckSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl PartialEq for CheckSpec {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CheckSpec {}

// === impl CheckKinds ===

impl CheckKinds {
    /// Returns the built-in kinds.
    pub const fn built_in() -> Self {
        Self(Cow::Borrowed(BUILT_IN))
    }

    /// Adds a kind. It replaces a built-in kind of the same name.
    pub fn with(mut self, kind: CheckKind) -> Self {
        let kinds = self.0.to_mut();
        kinds.retain(|known| known.name != kind.name);
        kinds.push(kind);
        self
    }

    /// Parses a check, such as `tcp` or `http:/health`.
    pub fn parse(&self, text: &str) -> Result<CheckSpec, InvalidCheck> {
        if text.len() > MAX_LENGTH {
            return Err(InvalidCheck::TooLong { length: text.len() });
        }
        if text == NONE {
            return Ok(CheckSpec::none());
        }
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let Some(kind) = self.0.iter().find(|kind| kind.name == name) else {
            return Err(InvalidCheck::UnknownKind { text: text.to_owned(), expected: self.help() });
        };
        match (kind.parse)(value) {
            Ok(check) => Ok(CheckSpec { text: text.into(), check: Some(check) }),
            Err(reason) => {
                Err(InvalidCheck::InvalidValue { text: text.to_owned(), reason, forms: kind.forms })
            }
        }
    }

    /// Returns the forms of all kinds for a help text, as in `tcp, ttl:15s or none`.
    pub fn help(&self) -> String {
        let forms: Vec<&str> = self.0.iter().flat_map(|kind| kind.forms).copied().collect();
        format!("{} or {NONE}", forms.join(", "))
    }

    /// Returns the forms of the URLs that a `health_url` can have, as in `tcp://HOST:PORT`.
    pub fn url_help(&self) -> String {
        self.0.iter().filter_map(|kind| kind.url_form).collect::<Vec<_>>().join(" or ")
    }
}

// === impl InvalidCheck ===

impl Remedy for InvalidCheck {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        None
    }
}

fn expected(forms: &[&str]) -> String {
    if forms.is_empty() { String::new() } else { format!("; expected {}", forms.join(" or ")) }
}

#[cfg(test)]
mod tests;

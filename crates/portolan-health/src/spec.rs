//! How an instance is checked, as people write it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use portolan_core::{Host, InvalidDuration};
use serde::{Deserialize, Serialize};

use crate::checks::{Check, KINDS};

/// The longest text that can be a check; an HTTP one may have a long path.
const MAX_LENGTH: usize = 2048;
/// What says that there is no check.
const NONE: &str = "none";

/// How an instance is checked: `tcp`, `tcp:HOST:PORT`, `http:/path`, `http://HOST:PORT/path`,
/// `ttl:15s` or `none`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckSpec {
    text: Box<str>,
    check: Option<Arc<dyn Check>>,
}

/// Why a text is not a check. Retrying does not help: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCheck {
    /// It begins like none of the kinds.
    #[error("{text:?} is not a health check; use {}", forms())]
    Unknown {
        /// The text, cut where it is long.
        text: String,
    },
    /// It would need TLS.
    #[error("{text:?} needs TLS, which Portolan does not speak yet; use http:// or tcp:HOST:PORT")]
    Tls {
        /// The text, cut where it is long.
        text: String,
    },
    /// No host and port where they should stand.
    #[error(
        "{text:?} names no host and port; write it like tcp:127.0.0.1:5432, or tcp for the service's own"
    )]
    NoAddress {
        /// The text, cut where it is long.
        text: String,
    },
    /// Neither a path nor a URL where one should stand.
    #[error(
        "{text:?} has no path or URL ({reason}); write it like http:/health or http://127.0.0.1:8080/health"
    )]
    NotAUrl {
        /// The text, cut where it is long.
        text: String,
        /// What the matter is with it.
        reason: String,
    },
    /// No span of time, or one out of bounds.
    #[error("{text:?} is not a span that reports can keep to; write it like ttl:15s")]
    NotASpan {
        /// The text, cut where it is long.
        text: String,
        /// What the matter is with it.
        #[source]
        source: InvalidDuration,
    },
    /// Longer than any check.
    #[error("the health check has {length} bytes; the limit is {MAX_LENGTH}")]
    TooLong {
        /// Its length, in bytes.
        length: usize,
    },
}

// === impl CheckSpec ===

impl CheckSpec {
    /// No check at all.
    pub fn none() -> Self {
        Self { text: NONE.into(), check: None }
    }

    /// Whether there is nothing to check.
    pub fn is_none(&self) -> bool {
        self.check.is_none()
    }

    /// The check as an endpoint's `health_url` says it, for an instance at this host and port;
    /// nothing where others cannot make this check.
    pub fn health_url(&self, host: &Host, port: u16) -> Option<String> {
        self.check.as_ref().and_then(|check| check.url(host, port))
    }

    pub(crate) fn check(&self) -> Option<&Arc<dyn Check>> {
        self.check.as_ref()
    }
}

impl FromStr for CheckSpec {
    type Err = InvalidCheck;

    fn from_str(text: &str) -> Result<Self, InvalidCheck> {
        if text.len() > MAX_LENGTH {
            return Err(InvalidCheck::TooLong { length: text.len() });
        }
        if text == NONE {
            return Ok(Self::none());
        }
        let (name, rest) = match text.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        if name == "https" {
            return Err(InvalidCheck::Tls { text: short(text) });
        }
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
            return Err(InvalidCheck::Unknown { text: short(text) });
        };
        Ok(Self { text: text.into(), check: Some((kind.parse)(rest)?) })
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

/// What may stand in an error of a text from outside.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

fn forms() -> String {
    let forms: Vec<&str> = KINDS.iter().flat_map(|kind| kind.forms).copied().collect();
    format!("{} or {NONE}", forms.join(", "))
}

#[cfg(test)]
mod tests;

//! Names: of services, of their instances, of scopes and of protocols.
//!
//! All of them travel in URLs, datagrams, DNS labels, metric labels, log lines and environment
//! variables, so all of them keep to a small alphabet and a length.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a name. Retrying does not help: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// There is nothing there.
    #[error("the {kind} is empty; give it 1 to {limit} characters")]
    Empty {
        /// What was to be named.
        kind: &'static str,
        /// The greatest length, in bytes.
        limit: usize,
    },
    /// Longer than the limit.
    #[error("the {kind} has {length} characters; the limit is {limit}")]
    TooLong {
        /// What was to be named.
        kind: &'static str,
        /// The length found, in bytes.
        length: usize,
        /// The greatest length, in bytes.
        limit: usize,
    },
    /// A character that the alphabet does not have, or not at this place.
    #[error("the {kind} {text:?} has {found:?} at position {position}; {alphabet}")]
    BadCharacter {
        /// What was to be named.
        kind: &'static str,
        /// The text as given.
        text: String,
        /// The offending character.
        found: char,
        /// Where it stands, counted from 1.
        position: usize,
        /// What may stand there, as a sentence.
        alphabet: &'static str,
    },
}

struct Rule {
    kind: &'static str,
    limit: usize,
    extra: &'static [u8],
    alphabet: &'static str,
}

impl Rule {
    fn check(&self, text: &str) -> Result<(), InvalidName> {
        let &Rule { kind, limit, .. } = self;
        if text.is_empty() {
            return Err(InvalidName::Empty { kind, limit });
        }
        if text.len() > limit {
            let length = text.len();
            return Err(InvalidName::TooLong { kind, length, limit });
        }
        match text.char_indices().position(|(at, c)| !self.allows(at, c)) {
            None => Ok(()),
            Some(index) => Err(InvalidName::BadCharacter {
                kind,
                text: text.to_owned(),
                found: text.chars().nth(index).unwrap_or_default(),
                position: index + 1,
                alphabet: self.alphabet,
            }),
        }
    }

    fn allows(&self, at: usize, c: char) -> bool {
        c.is_ascii_alphanumeric() || (at > 0 && c.is_ascii() && self.extra.contains(&(c as u8)))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $rule:ident = $value:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        const $rule: Rule = $value;

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                $rule.check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                $rule.check(&text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                (*name.0).to_owned()
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }
    };
}

name! {
    /// What a service is called. Many instances may share one name.
    ServiceName, SERVICE_NAME = Rule {
        kind: "service name",
        limit: 128,
        extra: b"-_.",
        alphabet: "a service name begins with an ASCII letter or digit and goes on with letters, digits, '-', '_' and '.'",
    }
}

name! {
    /// One instance of a service, told apart from all others.
    ServiceId, SERVICE_ID = Rule {
        kind: "service id",
        // Room for the id that is derived from scope, name, host and port at their longest.
        limit: 640,
        extra: b"-_.:@",
        alphabet: "a service id begins with an ASCII letter or digit and goes on with letters, digits, '-', '_', '.', ':' and '@'",
    }
}

name! {
    /// The world in which a name is looked up, so that two copies of one project do not meet.
    ///
    /// Compared to the letter. Where none is said it is [`Scope::default`], named `default`.
    Scope, SCOPE = Rule {
        kind: "scope",
        limit: 128,
        extra: b"-_.",
        alphabet: "a scope begins with an ASCII letter or digit and goes on with letters, digits, '-', '_' and '.'",
    }
}

name! {
    /// What an endpoint speaks: `tcp`, `udp`, `http`, `grpc`, or a protocol of the user's own.
    Protocol, PROTOCOL = Rule {
        kind: "protocol",
        limit: 32,
        extra: b"-+.",
        alphabet: "a protocol is written like a URL scheme (RFC 3986, section 3.1): ASCII letters, digits, '+', '-' and '.'",
    }
}

name! {
    /// One of several ports of a service: `metrics`, `admin`.
    PortName, PORT_NAME = Rule {
        kind: "port name",
        limit: 32,
        extra: b"-_.",
        alphabet: "a port name begins with an ASCII letter or digit and goes on with letters, digits, '-', '_' and '.'",
    }
}

// === impl Scope ===

impl Scope {
    /// The scope of everything that names none.
    pub const DEFAULT: &'static str = "default";

    /// Whether this is the scope of everything that names none.
    pub fn is_default(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }

    /// Returns the scopes in which names are looked up, in order: this scope, then `default`.
    pub fn lookup_order(&self) -> Vec<Self> {
        let fallback = (!self.is_default()).then(Self::default);
        [self.clone()].into_iter().chain(fallback).collect()
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

// === impl Protocol ===

impl Default for Protocol {
    /// `tcp`, which claims the least.
    fn default() -> Self {
        Self("tcp".into())
    }
}

#[cfg(test)]
mod tests;

//! Names of services, instances, scopes, protocols and ports.
//!
//! Names occur in URLs, datagrams, DNS labels, metric labels, log lines and environment variables,
//! so their alphabet and length are limited.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

/// Why text is not a name. Permanent: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The name is empty.
    #[error("the {kind} is empty, expected 1 to {limit} characters")]
    Empty {
        /// The type of name.
        kind: &'static str,
        /// The maximum length in bytes.
        limit: usize,
    },
    /// The name is too long.
    #[error("the {kind} has {length} characters, the limit is {limit}")]
    TooLong {
        /// The type of name.
        kind: &'static str,
        /// The length in bytes.
        length: usize,
        /// The maximum length in bytes.
        limit: usize,
    },
    /// A character is not in the alphabet, or not at this position.
    #[error("the {kind} {text:?} has {found:?} at position {position}; {alphabet}")]
    BadCharacter {
        /// The type of name.
        kind: &'static str,
        /// The text.
        text: String,
        /// The first invalid character.
        found: char,
        /// Its position, counted from 1.
        position: usize,
        /// The alphabet.
        alphabet: &'static str,
    },
}

struct Rule {
    kind: &'static str,
    limit: usize,
    extra: &'static [u8],
    /// Whether names that differ in case only are equal, as in DNS (RFC 4343). They are then stored in
    /// lower case.
    ignores_case: bool,
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
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(Arc<str>);

        const $rule: Rule = $value;

        impl $type {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                text.to_owned().try_into()
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(mut text: String) -> Result<Self, InvalidName> {
                $rule.check(&text)?;
                if $rule.ignores_case {
                    text.make_ascii_lowercase();
                    // The dot at the end of a name in DNS (RFC 1034, section 3.1).
                    text.truncate(text.trim_end_matches('.').len());
                }
                Ok(Self(text.into()))
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(&self.0)
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
    /// The name of a service. Instances of a service share it. Upper and lower case are equal, and dots at the end do not
    /// count, as in DNS.
    ServiceName, SERVICE_NAME = Rule {
        kind: "service name",
        limit: 128,
        extra: b"-_.",
        ignores_case: true,
        alphabet: "a service name begins with an ASCII letter or digit and goes on with letters, digits, '-', '_' and '.'",
    }
}

name! {
    /// The id of an instance.
    ServiceId, SERVICE_ID = Rule {
        kind: "service id",
        // Long enough for an id that is derived from the longest scope, name, host and port.
        limit: 640,
        extra: b"-_.:@",
        ignores_case: false,
        alphabet: "a service id begins with an ASCII letter or digit and goes on with letters, digits, '-', '_', '.', ':' and '@'",
    }
}

name! {
    /// The scope of names, which separates, for example, two working copies of a project.
    ///
    /// Scopes are case-sensitive. The default is [`Scope::default`], named `default`.
    Scope, SCOPE = Rule {
        kind: "scope",
        limit: 128,
        extra: b"-_.",
        ignores_case: false,
        alphabet: "a scope begins with an ASCII letter or digit and goes on with letters, digits, '-', '_' and '.'",
    }
}

name! {
    /// The protocol of an endpoint: `tcp`, `udp`, `http`, `grpc`, or any other.
    Protocol, PROTOCOL = Rule {
        kind: "protocol",
        limit: 32,
        extra: b"-+.",
        ignores_case: false,
        alphabet: "a protocol is written like a URL scheme (RFC 3986, section 3.1): ASCII letters, digits, '+', '-' and '.'",
    }
}

name! {
    /// The name of an additional port of a service: `metrics`, `admin`.
    PortName, PORT_NAME = Rule {
        kind: "port name",
        limit: 32,
        extra: b"-_.",
        ignores_case: false,
        alphabet: "a port name begins with an ASCII letter or digit and goes on with letters, digits, '-', '_' and '.'",
    }
}

// === impl Scope ===

impl Scope {
    /// The default scope.
    pub const DEFAULT: &'static str = "default";

    /// Returns whether this is the default scope.
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
        // Nearly every endpoint has it.
        static SHARED: LazyLock<Arc<str>> = LazyLock::new(|| Scope::DEFAULT.into());
        Self(Arc::clone(&SHARED))
    }
}

// === impl Protocol ===

impl Default for Protocol {
    /// Returns `tcp`.
    fn default() -> Self {
        static SHARED: LazyLock<Arc<str>> = LazyLock::new(|| "tcp".into());
        Self(Arc::clone(&SHARED))
    }
}

#[cfg(test)]
mod tests;

//! The incarnation of a registration, which identifies the run of the registrant that owns it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A random number that a registrant chooses at its start. A request with another incarnation than the
/// registration's is refused, so that a paused or replaced owner changes nothing (fencing).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Incarnation(u64);

/// A text that is not an incarnation. Retrying does not help: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an incarnation, expected 1 to 16 hexadecimal digits")]
pub struct InvalidIncarnation(String);

// === impl Incarnation ===

impl Incarnation {
    /// Returns a random incarnation, for a registrant that starts.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Returns the incarnation with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl FromStr for Incarnation {
    type Err = InvalidIncarnation;

    fn from_str(text: &str) -> Result<Self, InvalidIncarnation> {
        let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
        number.map(Self).ok_or_else(|| InvalidIncarnation(crate::quoted(text)))
    }
}

impl TryFrom<String> for Incarnation {
    type Error = InvalidIncarnation;
    fn try_from(text: String) -> Result<Self, InvalidIncarnation> {
        text.parse()
    }
}

impl From<Incarnation> for String {
    fn from(incarnation: Incarnation) -> Self {
        incarnation.to_string()
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnation_is_written_as_sixteen_hexadecimal_digits() {
        let incarnation = Incarnation::new(0xBEEF);
        assert_eq!(incarnation.to_string(), "000000000000beef");
        assert_eq!("beef".parse(), Ok(incarnation));
        assert_eq!(serde_json::to_string(&incarnation).unwrap(), "\"000000000000beef\"");
        for text in ["", "+1", "0x1", "11112222333344445", "g", " 1"] {
            assert!(text.parse::<Incarnation>().is_err(), "{text:?}");
        }
    }
}

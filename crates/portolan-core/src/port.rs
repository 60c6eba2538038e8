//! Port numbers as input.

use std::fmt;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// Why a value is not a port. Permanent: the value must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a port, expected a number from 1 to 65535")]
pub struct InvalidPort(String);

/// Parses a port from 1 to 65535.
pub fn parse(text: &str) -> Result<u16, InvalidPort> {
    match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(InvalidPort(crate::quoted(text))),
    }
}

/// Deserializes a port from 1 to 65535 (for `deserialize_with`).
pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<u16, D::Error> {
    input.deserialize_any(PortVisitor)
}

struct PortVisitor;

impl Visitor<'_> for PortVisitor {
    type Value = u16;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port: a number from 1 to 65535")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u16, E> {
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u16, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

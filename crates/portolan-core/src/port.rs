//! One port number, read from outside.

use std::fmt;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// A text or number that is not a port. Retrying does not help: it must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a port; a port is a number from 1 to 65535")]
pub struct InvalidPort(String);

/// Reads a port from text: a number from 1 to 65535.
pub fn parse(text: &str) -> Result<u16, InvalidPort> {
    match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(InvalidPort(text.chars().take(40).collect())),
    }
}

/// Reads a port with serde (`deserialize_with`), refusing 0 and what lies above 65535.
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

//! The port settings of a service in a stack file.

use std::fmt;

use portolan_core::port_range::InvalidPortRange;
use portolan_core::{PortRange, port};
use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// The setting `port` of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum MainPort {
    /// The default port of the service's pool.
    #[default]
    PoolDefault,
    /// One of these ports, in this order.
    Preferred(Vec<u16>),
    /// The service has no port.
    None,
}

/// The setting `range` of a service, written `3000-3010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RangeText(PortRange);

// === impl RangeText ===

impl TryFrom<String> for RangeText {
    type Error = InvalidPortRange;

    fn try_from(text: String) -> Result<Self, InvalidPortRange> {
        text.parse().map(Self)
    }
}

impl From<RangeText> for PortRange {
    fn from(RangeText(range): RangeText) -> Self {
        range
    }
}

// === impl MainPort ===

impl<'de> Deserialize<'de> for MainPort {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(MainPortVisitor)
    }
}

struct MainPortVisitor;

impl<'de> Visitor<'de> for MainPortVisitor {
    type Value = MainPort;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a port from 1 to 65535, a list of such, or `none` for a service without a port",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<MainPort, E> {
        match text {
            "none" => Ok(MainPort::None),
            text => port::parse(text)
                .map(|port| MainPort::Preferred(vec![port]))
                .map_err(|_| E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<MainPort, E> {
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(MainPort::Preferred(vec![port])),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<MainPort, A::Error> {
        let mut ports = Vec::new();
        while let Some(port) = items.next_element::<u16>()? {
            if port == 0 {
                return Err(A::Error::invalid_value(Unexpected::Unsigned(0), &self));
            }
            ports.push(port);
        }
        match ports.is_empty() {
            true => Err(A::Error::invalid_length(0, &self)),
            false => Ok(MainPort::Preferred(ports)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<MainPort, E> {
        self.visit_u64(u64::try_from(number).unwrap_or(0))
    }
}

//! The ports that a service of a stack would like, as its file says it.

use std::fmt;

use portolan_core::{PortName, port};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::service::NamedPort;

/// Which port a service would like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PortWish {
    /// The default of its pool.
    #[default]
    OfPool,
    /// This one.
    Preferred(u16),
    /// None at all: it listens nowhere.
    None,
}

/// Which port a service would like beside its main one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct NamedWish {
    /// This one; the pool's default where nothing is said.
    pub preferred: Option<u16>,
    /// From this pool; told by the names where nothing is said.
    pub pool: Option<String>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a port from 1 to 65535, nothing, or both a port and a pool: {port: 9100, pool: metrics}"
)]
enum Written {
    Number(u16),
    Nothing(()),
    Both(Both),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    port: Option<u16>,
    pool: Option<String>,
}

// === impl NamedWish ===

impl NamedWish {
    pub(super) fn into_port(self, name: PortName) -> NamedPort {
        NamedPort { name, preferred: self.preferred, pool: self.pool }
    }
}

impl TryFrom<Written> for NamedWish {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        let (preferred, pool) = match written {
            Written::Number(port) => (Some(port), None),
            Written::Nothing(()) => (None, None),
            Written::Both(Both { port, pool }) => (port, pool),
        };
        match preferred {
            Some(0) => Err("0 is not a port; a port is a number from 1 to 65535"),
            preferred => Ok(Self { preferred, pool }),
        }
    }
}

// === impl PortWish ===

impl<'de> Deserialize<'de> for PortWish {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(PortWishVisitor)
    }
}

struct PortWishVisitor;

impl Visitor<'_> for PortWishVisitor {
    type Value = PortWish;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port from 1 to 65535, or `none` for a service that listens nowhere")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<PortWish, E> {
        match text {
            "none" => Ok(PortWish::None),
            text => port::parse(text)
                .map(PortWish::Preferred)
                .map_err(|_| E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<PortWish, E> {
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(PortWish::Preferred(port)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<PortWish, E> {
        self.visit_u64(u64::try_from(number).unwrap_or(0))
    }
}

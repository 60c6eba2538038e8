//! One entry of the setting `port_allocator.port_ranges`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::built_in::BUILT_IN;
use crate::PortRange;
use crate::port_range::InvalidPortRange;

/// The settings of one pool: its range, and optionally its default port and whether browsers
/// connect to its services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PoolFields", into = "PoolFields")]
pub struct PoolRange {
    range: PortRange,
    default: Option<u16>,
    http: Option<bool>,
}

/// The keys as they are written in a settings file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolFields {
    start: u16,
    end: u16,
    #[serde(default)]
    default: Option<u16>,
    #[serde(default)]
    http: Option<bool>,
}

/// Why numbers are not a pool. Permanent: the settings must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPoolRange {
    /// The range is invalid.
    #[error(transparent)]
    Range(#[from] InvalidPortRange),
    /// The default port is 0.
    #[error("default port of a pool must be 1-65535, got 0")]
    DefaultZero,
}

// === impl PoolRange ===

impl PoolRange {
    /// Creates the settings of a pool that leave the default port and `http` open.
    pub const fn new(range: PortRange) -> Self {
        Self { range, default: None, http: None }
    }

    /// Sets the default port, which may lie outside the range. 0 means that it is left open.
    pub const fn with_default(mut self, port: u16) -> Self {
        self.default = if port == 0 { None } else { Some(port) };
        self
    }

    /// Sets whether browsers connect to the pool's services. If true, no port that browsers block
    /// is granted; a pool that is not built in then has the protocol `http`.
    pub const fn with_http(mut self, http: bool) -> Self {
        self.http = Some(http);
        self
    }

    /// Returns the ports that are tried when the default port is taken.
    pub const fn range(&self) -> PortRange {
        self.range
    }

    /// Returns the default port that is set.
    pub const fn default_port(&self) -> Option<u16> {
        self.default
    }

    /// Returns whether browsers connect to the pool's services, if it is set.
    pub const fn http(&self) -> Option<bool> {
        self.http
    }

    /// Returns the settings of the six built-in pools by name.
    pub fn built_in() -> BTreeMap<String, Self> {
        let settings = BUILT_IN.iter().map(|pool| {
            (pool.name.to_owned(), Self::new(pool.range).with_default(pool.default_port))
        });
        settings.collect()
    }
}

impl From<PortRange> for PoolRange {
    fn from(range: PortRange) -> Self {
        Self::new(range)
    }
}

impl TryFrom<PoolFields> for PoolRange {
    type Error = InvalidPoolRange;

    fn try_from(fields: PoolFields) -> Result<Self, InvalidPoolRange> {
        let PoolFields { start, end, default, http } = fields;
        match default {
            Some(0) => Err(InvalidPoolRange::DefaultZero),
            default => Ok(Self { range: PortRange::new(start, end)?, default, http }),
        }
    }
}

impl From<PoolRange> for PoolFields {
    fn from(PoolRange { range, default, http }: PoolRange) -> Self {
        Self { start: range.start(), end: range.end(), default, http }
    }
}

//! Ranges of ports.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Ports from `start` to `end`, both included; never empty, never reversed, never port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bounds", into = "Bounds")]
pub struct PortRange {
    start: u16,
    end: u16,
}

/// Why two numbers are not a range of ports. Retrying does not help: the numbers must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPortRange {
    /// Port 0 is the system's word for "any port", not a port.
    #[error("a range of ports begins at 1 or above, not at 0")]
    Zero,
    /// The end lies before the start.
    #[error("the range {start}-{end} is reversed; write {end}-{start}")]
    Reversed {
        /// The start as given.
        start: u16,
        /// The end as given.
        end: u16,
    },
    /// Not two port numbers with a hyphen between them.
    #[error("{0:?} is not a range of ports; write it as 8081-8099, with numbers from 1 to 65535")]
    NotARange(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    start: u16,
    end: u16,
}

// === impl PortRange ===

impl PortRange {
    /// The ports from `start` to `end`, both included.
    pub fn new(start: u16, end: u16) -> Result<Self, InvalidPortRange> {
        match (start, end) {
            (0, _) => Err(InvalidPortRange::Zero),
            (start, end) if end < start => Err(InvalidPortRange::Reversed { start, end }),
            (start, end) => Ok(Self { start, end }),
        }
    }

    /// A range that is written down in the source, as a constant: a bad one does not compile.
    pub const fn known(start: u16, end: u16) -> Self {
        assert!(start > 0 && start <= end, "a range of ports is empty");
        Self { start, end }
    }

    /// The first port.
    pub const fn start(self) -> u16 {
        self.start
    }

    /// The last port.
    pub const fn end(self) -> u16 {
        self.end
    }

    /// How many ports there are, at least one.
    pub fn count(self) -> usize {
        usize::from(self.end - self.start) + 1
    }

    /// Whether the port lies within.
    pub fn contains(self, port: u16) -> bool {
        self.ports().contains(&port)
    }

    /// Every port, in order.
    pub fn ports(self) -> RangeInclusive<u16> {
        self.start..=self.end
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

impl FromStr for PortRange {
    type Err = InvalidPortRange;

    fn from_str(text: &str) -> Result<Self, InvalidPortRange> {
        let invalid = || InvalidPortRange::NotARange(text.chars().take(40).collect());
        let (start, end) = text.split_once('-').ok_or_else(invalid)?;
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| invalid());
        Self::new(number(start)?, number(end)?)
    }
}

impl TryFrom<Bounds> for PortRange {
    type Error = InvalidPortRange;
    fn try_from(bounds: Bounds) -> Result<Self, InvalidPortRange> {
        Self::new(bounds.start, bounds.end)
    }
}

impl From<PortRange> for Bounds {
    fn from(PortRange { start, end }: PortRange) -> Self {
        Self { start, end }
    }
}

//! Port ranges.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The ports from `start` to `end`, both inclusive. A range is never empty and never contains port
/// 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bounds", into = "Bounds")]
pub struct PortRange {
    start: u16,
    end: u16,
}

/// Why numbers are not a port range. Permanent: the numbers must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPortRange {
    /// The start is 0, which means any port in socket APIs.
    #[error("port range starts at 0, expected 1 to 65535")]
    Zero,
    /// The end is less than the start.
    #[error("port range {start}-{end} is reversed, expected {end}-{start}")]
    Reversed {
        /// The start.
        start: u16,
        /// The end.
        end: u16,
    },
    /// The text is not a port range.
    #[error("{0} is not a port range, expected START-END with numbers from 1 to 65535")]
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
    /// Creates a range; both ends are inclusive.
    pub fn new(start: u16, end: u16) -> Result<Self, InvalidPortRange> {
        match (start, end) {
            (0, _) => Err(InvalidPortRange::Zero),
            (start, end) if end < start => Err(InvalidPortRange::Reversed { start, end }),
            (start, end) => Ok(Self { start, end }),
        }
    }

    /// Creates a constant range. An invalid one does not compile.
    pub const fn known(start: u16, end: u16) -> Self {
        assert!(start > 0 && start <= end, "a range of ports is empty");
        Self { start, end }
    }

    /// Returns the first port.
    pub const fn start(self) -> u16 {
        self.start
    }

    /// Returns the last port.
    pub const fn end(self) -> u16 {
        self.end
    }

    /// Returns the number of ports, at least one.
    pub fn count(self) -> usize {
        usize::from(self.end - self.start) + 1
    }

    /// Returns whether the range contains the port.
    pub fn contains(self, port: u16) -> bool {
        self.ports().contains(&port)
    }

    /// Returns every port in ascending order.
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
        let invalid = || InvalidPortRange::NotARange(crate::quoted(text));
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

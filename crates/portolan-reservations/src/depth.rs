//! How deep a port is held.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How deep a port is held: from whom it is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Safe from everybody: the lease holds the bound socket and hands it over.
    #[default]
    Bound,
    /// For a program that binds the port by its number itself. Safe from every Portolan process,
    /// from the kernel's own choice, and from whoever binds without `SO_REUSEADDR`: the lease holds
    /// a guard, beside which a program that sets the option still starts. Nothing tells such a
    /// program from a stranger who sets it too and wants this very port.
    Guarded,
    /// The number only, for what binds it out of our reach: a container, a remote host. Safe from
    /// every Portolan process of this user on this host, and to be verified once it is started:
    /// who listens on it then is not known here.
    Claimed,
}

/// A text that is none of the depths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a depth; use bound, guarded or claimed")]
pub struct InvalidDepth(String);

// === impl Depth ===

impl Depth {
    /// The depth as it is written in flags and files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Guarded => "guarded",
            Self::Claimed => "claimed",
        }
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Depth {
    type Err = InvalidDepth;

    fn from_str(text: &str) -> Result<Self, InvalidDepth> {
        [Self::Bound, Self::Guarded, Self::Claimed]
            .into_iter()
            .find(|depth| depth.as_str() == text)
            .ok_or_else(|| InvalidDepth(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_depth_is_read_as_it_is_written() {
        for depth in [Depth::Bound, Depth::Guarded, Depth::Claimed] {
            assert_eq!(depth.to_string().parse(), Ok(depth));
        }
        let error = "deep".parse::<Depth>().unwrap_err();
        assert_eq!(error.to_string(), "\"deep\" is not a depth; use bound, guarded or claimed");
    }
}

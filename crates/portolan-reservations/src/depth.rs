//! The hold level of a lease.

use std::borrow::Cow;

use portolan_core::{Remedy, text_enum};
use serde::{Deserialize, Serialize};

/// The hold level of a lease: what it protects the port against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Protects against every process: the lease owns the bound socket and hands it over.
    #[default]
    Bound,
    /// For a program that binds the port by its number. Protects against every Portolan process, the
    /// kernel's choice of an ephemeral port, and every process that binds without `SO_REUSEADDR`: the
    /// lease owns a guard, beside which a program that sets the option can bind. A foreign process that
    /// sets the option too cannot be told from that program.
    Guarded,
    /// For a container or a remote host, which binds out of reach. Protects against every Portolan
    /// process of this user on this host. Verify the listening process after the start.
    Claimed,
}

/// The text is not a hold level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid depth {0}: expected bound, guarded or claimed")]
pub struct InvalidDepth(String);

text_enum! {
    Depth, InvalidDepth,
    Bound => "bound",
    Guarded => "guarded",
    Claimed => "claimed",
}

impl Remedy for InvalidDepth {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_round_trips_through_its_name() {
        for depth in Depth::ALL {
            assert_eq!(depth.to_string().parse().as_ref(), Ok(depth));
        }
    }
}

//! What stores have in common whose truth is a cluster, of which each server keeps a replica.

use std::time::Duration;

use portolan_core::Revision;
use serde::{Deserialize, Serialize};

use super::decide::Effect;

mod batch;
mod fault;
mod feed;
mod feed_queue;
mod kept;
mod loaded;
mod outlets;
mod server;
pub(crate) mod settings;
mod timers;

#[cfg(test)]
pub(crate) mod certificates;
#[cfg(test)]
pub(crate) mod harness;
#[cfg(test)]
pub(crate) mod suite;

pub(crate) use batch::{commit_all, independent};
pub(crate) use fault::{CallError, FORMAT, StoreFault};
pub(crate) use feed::{FeedSource, ReplicaFeed};
pub(crate) use kept::{KeptValue, keeps};
pub(crate) use loaded::{ClusterReplica, wait_until_loaded};
pub(crate) use outlets::Outlets;
pub(crate) use server::ServerValue;
pub(crate) use timers::Timers;

/// How long a lease lasts after its timer fired: heartbeats that arrived in time may wait beside it.
pub(crate) const GRACE: Duration = Duration::from_millis(100);
/// How long the cluster may be out of reach, or this process stopped, before leases get their full TTL again, because
/// services could not renew them.
pub(crate) const OUTAGE: Duration = Duration::from_secs(2);
/// How many revisions of the registry there are in one of the cluster: a transaction makes several changes.
const CHANGES: u64 = 128;
/// The number of the change by the endpoint that a transaction stores, which is its last one.
pub(crate) const LAST: u64 = CHANGES - 1;

/// What a write of an endpoint has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Written {
    Registered,
    Moved,
    Updated,
    Health,
    /// Nothing but the owner, or the server that holds the lease.
    Renewed,
    /// Nothing but the reason of the health.
    Reason,
}

// === impl Written ===

impl Written {
    /// What a command writes; `renews` says whether it gives the instance its full TTL again.
    pub(crate) fn new(effect: Effect, renews: bool) -> Self {
        match effect {
            Effect::Registered => Self::Registered,
            Effect::Moved => Self::Moved,
            Effect::Updated => Self::Updated,
            Effect::Health => Self::Health,
            Effect::Renewed if renews => Self::Renewed,
            Effect::Renewed => Self::Reason,
        }
    }

    pub(crate) fn has_revision(self) -> bool {
        !matches!(self, Self::Renewed | Self::Reason)
    }

    /// Whether it comes from a registration or a heartbeat, which gives the instance its full TTL again.
    pub(crate) fn is_registration(self) -> bool {
        !matches!(self, Self::Health | Self::Reason)
    }
}

/// The revision of the registry that a change has: the change of this number in a revision of the cluster.
pub(crate) fn revision(cluster: u64, change: u64) -> Revision {
    let first = cluster.saturating_mul(CHANGES);
    Revision(first.saturating_add(change.min(LAST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_exact_in_json_readers() {
        assert!(revision(1 << 46, 0).0 <= 1 << 53);
        assert!(revision(1, LAST) < revision(2, 0));
    }
}

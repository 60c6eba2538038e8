//! What stores have in common whose truth is a cluster, of which each server keeps a replica. Without I/O.

use std::collections::BTreeSet;

use portolan_core::{Revision, ServiceId};
use serde::{Deserialize, Serialize};

use super::decide::{Concerned, Effect};
use super::owner::Place;
use crate::Command;

mod feed_queue;
#[cfg(feature = "consul")]
mod outlets;
mod timers;

#[cfg(test)]
pub(crate) mod harness;
#[cfg(test)]
pub(crate) mod suite;

pub(crate) use feed_queue::{FeedQueue, Taken};
#[cfg(feature = "consul")]
pub(crate) use outlets::Outlets;
pub(crate) use timers::Timers;

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

/// The ids of the instances that a command may change or displace.
pub(crate) fn ids(command: &Command, concerned: &Concerned<'_>) -> BTreeSet<ServiceId> {
    let others = concerned.neighbours.iter().map(|other| other.endpoint.id.clone());
    others.chain([command.id()]).collect()
}

/// The number of commands at the beginning that concern different instances and places, one at least.
pub(crate) fn independent<'a>(
    commands: &[Command],
    concerned: impl Fn(&Command) -> Concerned<'a>,
) -> usize {
    let (mut known, mut places) = (BTreeSet::new(), BTreeSet::new());
    let is_new = |command: &&Command| {
        let mut is_new = true;
        for id in ids(command, &concerned(command)) {
            is_new &= known.insert(id);
        }
        let own: BTreeSet<_> = command.places().iter().map(Place::key).collect();
        for place in own {
            is_new &= places.insert(place);
        }
        is_new
    };
    commands.iter().take_while(is_new).count().max(1)
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

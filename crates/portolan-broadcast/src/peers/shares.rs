//! How many entries of the table each source has, so that one which has many makes room for others.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use portolan_core::ServiceId;
use tokio::time::Instant;

/// The entries of each source, by expiry.
#[derive(Debug, Default)]
pub(super) struct Shares {
    entries: HashMap<IpAddr, BTreeSet<(Instant, ServiceId)>>,
    sizes: BTreeSet<(usize, IpAddr)>,
}

// === impl Shares ===

impl Shares {
    pub(super) fn insert(&mut self, source: IpAddr, ends: Instant, id: ServiceId) {
        self.change(source, |entries| entries.insert((ends, id)));
    }

    pub(super) fn remove(&mut self, source: IpAddr, ends: Instant, id: ServiceId) {
        self.change(source, |entries| entries.remove(&(ends, id)));
    }

    /// Returns the entry that makes room for a new one of this source: of the source with the most, the one that ends first.
    /// `None` if the source would have as many itself, so that two do not take turns.
    pub(super) fn entry_to_replace(&self, source: IpAddr) -> Option<ServiceId> {
        let own = self.entries.get(&source).map_or(0, BTreeSet::len);
        let (most, largest) = self.sizes.last()?;
        let (_, first) = self.entries.get(largest).filter(|_| *most > own + 1)?.first()?;
        Some(first.clone())
    }

    fn change(
        &mut self,
        source: IpAddr,
        change: impl FnOnce(&mut BTreeSet<(Instant, ServiceId)>) -> bool,
    ) {
        let entries = self.entries.entry(source).or_default();
        let before = entries.len();
        change(entries);
        let after = entries.len();
        self.sizes.remove(&(before, source));
        match after {
            0 => drop(self.entries.remove(&source)),
            _ => drop(self.sizes.insert((after, source))),
        }
    }
}

//! What is recovered from a data directory, and what becomes final once the journal has it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::ServiceId;
use tokio::time::Instant;

use super::{Record, State};
use crate::MassExpiryConfig;
use crate::store::index::Index;
use crate::store::memory::feed::FeedQueue;
use crate::store::memory::journal::record::{Instance, Snapshot};
use crate::store::memory::journal::recovery::Recovered;
use crate::store::memory::outbox::{Ack, Batch, Detached, Durability, Outbox, Undo};

impl State {
    /// Takes over what was recovered from a data directory. The revision is the one to start with.
    pub(in crate::store::memory) fn restore(
        &mut self,
        recovered: Recovered,
        durability: Durability,
    ) {
        let now = (Timestamp::now(), Instant::now());
        self.revision = recovered.revision;
        self.history = Some(recovered.history);
        self.outbox.durability = durability;
        self.settings.restore(recovered.settings);
        let instances: Vec<_> = recovered.instances.into_values().collect();
        self.records.reserve(instances.len());
        self.leases.reserve(instances.len());
        // Beside the rest, because it takes as long.
        let owned = |instance: &Instance| (Arc::clone(&instance.endpoint), instance.owner.clone());
        let owned: Vec<_> = instances.iter().map(owned).collect();
        let index = std::thread::spawn(move || Index::of(&owned));
        for instance in instances {
            let Instance { endpoint, owner, ends, extended, kept, protected, overdue } = instance;
            let left = Duration::try_from(ends.duration_since(now.0)).unwrap_or_default();
            // Longer only if the clock was set back.
            let ttl = endpoint.ttl.duration();
            let longest = if protected { MassExpiryConfig::LONGEST } else { ttl };
            let ends = now.1 + left.min(longest);
            self.overdue.extend(overdue.then(|| endpoint.id.clone()));
            self.attach_unindexed(Detached { endpoint, owner, ends, extended, kept, protected });
        }
        self.index_of = index.join().expect("building an index does not panic");
    }

    pub(super) fn push_undo(&mut self, id: &ServiceId) {
        let record = self.records.get(id);
        self.outbox.push_undo(|| Undo {
            id: id.clone(),
            previous: record.map(|record| Detached {
                endpoint: Arc::clone(&record.endpoint),
                owner: record.owner.clone(),
                ends: record.ends,
                extended: record.extended,
                kept: record.kept.clone(),
                protected: record.protected,
            }),
        });
    }

    /// Registers a caller that waits until everything so far is final; gives it back if it is.
    pub(in crate::store::memory) fn wait_until_final(&mut self, ack: Ack) -> Option<Ack> {
        if self.durable == self.index {
            return Some(ack);
        }
        self.outbox.pending.acks.push(ack);
        None
    }

    pub(in crate::store::memory) fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    pub(in crate::store::memory) fn take_batch(&mut self) -> Batch {
        self.outbox.take(self.index)
    }

    /// Everything up to the end of the batch is final.
    pub(in crate::store::memory) fn confirm(&mut self, batch: &Batch) {
        self.durable = self.durable.max(batch.index);
        self.settings.confirm_all(&batch.records);
        self.feeds.values().for_each(|queue| queue.backlog.notify());
    }

    /// Undoes what is not final, the newest first, and rejects further writes. The feeds continue with a reset.
    pub(in crate::store::memory) fn revert(&mut self, batch: Batch, reason: &str) {
        let newer = self.take_batch();
        let reason = Arc::from(reason);
        self.outbox.durability = Durability::ReadOnly { reason, recording: false };
        for Undo { id, previous } in batch.undo.into_iter().chain(newer.undo).rev() {
            self.detach(&id);
            previous.into_iter().for_each(|previous| self.attach(previous));
        }
        self.settings.revert();
        self.durable = self.index;
        self.feeds.values_mut().for_each(FeedQueue::reset);
        for ack in batch.acks.into_iter().chain(newer.acks) {
            // The caller may have stopped waiting.
            _ = ack.send(self.outbox.check_writable());
        }
    }

    /// Everything that is kept.
    pub(in crate::store::memory) fn snapshot(&self) -> Snapshot {
        let settings = self.settings.latest();
        Snapshot { revision: self.revision(), instances: self.instances(), settings }
    }

    /// Every instance with its lease.
    fn instances(&self) -> Vec<Instance> {
        let now = (Timestamp::now(), Instant::now());
        let instance = |record: &Record| {
            let left = record.ends.saturating_duration_since(now.1);
            Instance {
                endpoint: Arc::clone(&record.endpoint),
                owner: record.owner.clone(),
                ends: now.0.checked_add(left).unwrap_or(Timestamp::MAX),
                extended: record.extended,
                kept: record.kept.clone(),
                protected: record.protected,
                overdue: false,
            }
        };
        self.records.values().map(|record| instance(record)).collect()
    }
}

//! The protocol by which a slot and its record change hands.
//!
//! ```text
//!            claim                publish               release
//!    Free ----------> Trying ---------------> Held ---------------> Free
//!     ^  withdraw       |  ^                   |
//!     +-----------------+  |  claim, once the  | leave_to_listener
//!                          +- socket is gone --+-> Listening
//! ```
//!
//! A slot changes only by compare-and-swap. The session that moved it to *trying* owns the record
//! until it publishes the slot; readers use a record only if the slot did not change while they read
//! it. A slot whose session has ended can be claimed in every state.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::{SessionId, Slot, State};
use crate::atomic::AtomicWord;
use crate::record::Record;

/// How many times a compare-and-swap is retried. Each failure means that another session succeeded.
const TRIES: usize = 64;

/// The slot of one port and its record.
#[derive(Debug)]
pub(crate) struct SlotProtocol<'a, W> {
    pub(crate) slot: &'a W,
    pub(crate) record: &'a [W],
}

/// A slot that this session has claimed, to be published or withdrawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimedSlot {
    now: Slot,
    /// Whether the record is that of an orphaned lease or a listener.
    pub(crate) has_record: bool,
    /// Whether the slot was reclaimed from a session that had ended.
    pub(crate) reclaimed: bool,
}

// === impl SlotProtocol ===

impl<W: AtomicWord> SlotProtocol<'_, W> {
    /// Claims the slot for the session, or returns the slot of the session that holds it.
    ///
    /// The slot of a listener can be claimed: whether its socket still exists shows when the port is
    /// bound.
    pub(crate) fn claim(
        &self,
        session: SessionId,
        is_alive: impl Fn(SessionId) -> bool,
    ) -> Result<ClaimedSlot, Slot> {
        let mut before = self.load();
        for _ in 0..TRIES {
            let is_claimable = matches!(before.state(), State::Free | State::Listening);
            if !is_claimable && is_alive(before.session()) {
                return Err(before);
            }
            let now = before.claimed_by(session);
            match self.slot.compare_exchange(before.word(), now.word()) {
                Ok(_) => {
                    let has_record = before.state() == State::Held || before.is_listing();
                    let reclaimed = before.state() != State::Free && !before.is_listing();
                    return Ok(ClaimedSlot { now, has_record, reclaimed });
                }
                Err(found) => before = Slot::from_word(found),
            }
        }
        Err(before)
    }

    /// Calls `write` with the record, and turns the claim into a lease.
    pub(crate) fn publish(
        &self,
        claimed: &ClaimedSlot,
        requested: Slot,
        write: impl FnOnce(&[W]),
    ) -> Slot {
        let now = claimed.now.with_contents_of(requested);
        self.slot.store(now.word(), Relaxed);
        // The record's words must not be seen before the claim is, nor as those of a listener.
        W::fence(Release);
        write(self.record);
        let slot = now.with_state(State::Held);
        self.slot.store(slot.word(), Release);
        slot
    }

    /// Withdraws a claim. A listener that was there before stays listed.
    pub(crate) fn withdraw(&self, claimed: &ClaimedSlot) {
        self.slot.store(claimed.now.withdrawn().word(), Release);
    }

    /// Turns a lease into the entry of a listener, which lasts as long as the socket of this inode;
    /// false if the lease is no longer in the slot.
    pub(crate) fn leave_to_listener(&self, slot: Slot, inode: u64) -> bool {
        if self.load() != slot {
            return false;
        }
        // Readers ignore the inode of a lease, so the record can change without a claim.
        Record::write_inode(self.record, inode);
        let listing = slot.with_state(State::Listening);
        self.slot.compare_exchange(slot.word(), listing.word()).is_ok()
    }

    /// Frees the slot if it still holds the lease that was granted.
    pub(crate) fn release(&self, slot: Slot) -> bool {
        self.slot.compare_exchange(slot.word(), slot.freed().word()).is_ok()
    }

    pub(crate) fn load(&self) -> Slot {
        Slot::from_word(self.slot.load(Acquire))
    }

    /// Returns a consistent pair of the slot and what `read` makes of its record; none if the port
    /// has neither a lease nor a listener.
    pub(crate) fn read<R>(&self, read: impl Fn(&[W]) -> R) -> Option<(Slot, R)> {
        for _ in 0..TRIES {
            let slot = self.load();
            if slot.state() != State::Held && !slot.is_listing() {
                return None;
            }
            let contents = read(self.record);
            W::fence(Acquire);
            if self.slot.load(Relaxed) == slot.word() {
                return Some((slot, contents));
            }
        }
        None
    }
}

#[cfg(test)]
mod model;

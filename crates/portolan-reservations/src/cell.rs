//! The slot of one port and its record: the steps in which they change hands.
//!
//! ```text
//!            claim                publish               release
//!    Free ----------> Trying ---------------> Held ---------------> Free
//!     ^  withdraw       |  ^                   |
//!     +-----------------+  |  claim, once the  | leave_to_listener
//!                          +- socket is gone --+-> Listening
//! ```
//!
//! A *witness* says of a lease what its slot says. A port is free only where both agree, so that a
//! number which somebody scribbled on gives no port away whose owner lives.
//!
//! A slot changes only by compare-and-swap. Whoever moved it to *trying* owns its record until it
//! publishes the slot; readers take a record only if the slot did not change meanwhile. From every
//! state a session can be killed in, the slot goes on as if it were free.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::record::{Record, Tally};
use crate::slot::{SessionId, Slot, State};
use crate::word::Word;

/// How often a compare-and-swap is tried again. Each failure means that somebody else moved on.
const TRIES: usize = 64;

/// One port's place in the table.
#[derive(Debug)]
pub(crate) struct Cell<'a, W> {
    pub(crate) slot: &'a W,
    pub(crate) witness: &'a W,
    pub(crate) record: &'a [W],
}

/// A slot that is ours to publish or to withdraw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// What the slot says meanwhile.
    now: Slot,
    /// Who was counted as its holder before, dead by now or listening.
    pub(crate) displaced: Option<Tally>,
    /// Whether the slot was taken over from a session that had ended.
    pub(crate) reclaimed: bool,
}

// === impl Cell ===

impl<W: Word> Cell<'_, W> {
    /// Takes the slot for the session, or says who has it.
    ///
    /// A slot of a listener may be claimed: whether the listener is still there is known to the
    /// kernel, and shows when the port is bound.
    pub(crate) fn claim(
        &self,
        session: SessionId,
        is_alive: impl Fn(SessionId) -> bool,
    ) -> Result<Taken, Slot> {
        let mut before = self.load();
        for _ in 0..TRIES {
            let is_somebodys = |slot: Slot| {
                !matches!(slot.state(), State::Free | State::Listening) && is_alive(slot.session())
            };
            let witness = Slot::from_word(self.witness.load(Acquire));
            if let Some(holder) = [before, witness].into_iter().find(|slot| is_somebodys(*slot)) {
                return Err(holder);
            }
            let now = before.claimed_by(session);
            match self.slot.compare_exchange(before.word(), now.word()) {
                Ok(_) => return Ok(self.taken(before, now)),
                Err(found) => before = Slot::from_word(found),
            }
        }
        Err(before)
    }

    fn taken(&self, before: Slot, now: Slot) -> Taken {
        let was_counted = before.state() == State::Held || before.is_listing();
        Taken {
            now,
            displaced: was_counted.then(|| Record::read_tally(self.record)),
            reclaimed: before.state() != State::Free && !before.is_listing(),
        }
    }

    /// Has the record written, and makes the claim a lease.
    pub(crate) fn publish(&self, taken: &Taken, wish: Slot, write: impl FnOnce(&[W])) -> Slot {
        let now = taken.now.with_contents_of(wish);
        self.slot.store(now.word(), Relaxed);
        // The record's words must not be seen before the claim is, nor as those of a listener.
        W::fence(Release);
        write(self.record);
        let slot = now.published(State::Held);
        self.witness.store(slot.word(), Relaxed);
        self.slot.store(slot.word(), Release);
        slot
    }

    /// Gives a claim up. A listener that was there before is still listed.
    pub(crate) fn withdraw(&self, taken: &Taken) -> Slot {
        let slot = taken.now.withdrawn();
        self.slot.store(slot.word(), Release);
        slot
    }

    /// Makes a lease the listing of a listener, which lasts as long as the socket of this inode;
    /// false where it is no lease any more.
    pub(crate) fn leave_to_listener(&self, slot: Slot, inode: u64) -> bool {
        if self.load() != slot {
            return false;
        }
        // Nobody asks for the inode of a lease, so it need not be claimed meanwhile, and is never
        // without its name.
        Record::write_inode(self.record, inode);
        let listing = slot.published(State::Listening);
        self.dismiss_witness(slot);
        self.slot.compare_exchange(slot.word(), listing.word()).is_ok()
    }

    /// Frees the slot, if it is still the one that was granted: nobody frees another's port.
    pub(crate) fn release(&self, slot: Slot) -> bool {
        self.dismiss_witness(slot);
        self.slot.compare_exchange(slot.word(), slot.freed().word()).is_ok()
    }

    /// That of another lease stays: who asks for this may be late.
    fn dismiss_witness(&self, slot: Slot) {
        _ = self.witness.compare_exchange(slot.word(), 0);
    }

    pub(crate) fn load(&self) -> Slot {
        Slot::from_word(self.slot.load(Acquire))
    }

    /// The slot with what is read of its record, both of the same moment; none where nobody is
    /// listed.
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

//! The slot of one port with what is counted of it: a lease is counted before its slot says so, and
//! until the slot says something else. So whoever is killed in between leaves a count too many, and
//! never one too few.

use crate::cell::{Cell, Taken};
use crate::counts::Counts;
use crate::record::{Record, Tally};
use crate::slot::{SessionId, Slot};
use crate::word::Word;

/// One port's place in the table, and the counts that its leases are in.
#[derive(Debug)]
pub(crate) struct Seat<'a, W> {
    pub(crate) cell: Cell<'a, W>,
    pub(crate) counts: Counts<'a, W>,
}

// === impl Seat ===

impl<W: Word> Seat<'_, W> {
    /// Takes the slot for the session, or says who has it.
    pub(crate) fn claim(
        &self,
        session: SessionId,
        is_alive: impl Fn(SessionId) -> bool,
    ) -> Result<Taken, Slot> {
        self.cell.claim(session, is_alive)
    }

    /// Makes the claim a lease. It is counted already, and what it displaced is so no longer.
    pub(crate) fn publish(&self, taken: &Taken, wish: Slot, write: impl FnOnce(&[W])) -> Slot {
        let slot = self.cell.publish(taken, wish, write);
        self.forget(taken.displaced);
        slot
    }

    /// Gives the claim up. A listener that was there before is still listed, and counted.
    pub(crate) fn withdraw(&self, taken: &Taken) {
        let slot = self.cell.withdraw(taken);
        self.forget(taken.displaced.filter(|_| !slot.is_listing()));
    }

    /// Frees the slot and what is counted of it, if it is still the one that was granted.
    pub(crate) fn release(&self, slot: Slot) -> bool {
        // Afterwards the record may be another's.
        let tally = Record::read_tally(self.cell.record);
        let released = self.cell.release(slot);
        self.forget(released.then_some(tally));
        released
    }

    fn forget(&self, tally: Option<Tally>) {
        tally.into_iter().for_each(|tally| self.counts.remove(tally));
    }
}

#[cfg(test)]
mod model;

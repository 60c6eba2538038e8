//! One slot of the table: who holds a port, in 64 bits, so that it changes in one step.
//!
//! ```text
//!  63        38 37         24 23        5  4    3 2    1 0
//! +------------+-------------+------------+----+------+------+
//! | epoch   26 | session  14 | generation | udp| depth| state|
//! +------------+-------------+------------+----+------+------+
//! ```
//!
//! Every 64-bit number is a slot, whatever wrote it. The generation grows with each claim, so that
//! a reader notices a slot that went to another holder and back meanwhile.

use crate::request::Depth;

const DEPTH: u32 = 2;
const UDP: u32 = 4;
const GENERATION: u32 = 5;
const GENERATION_BITS: u32 = 19;
const SESSION: u32 = GENERATION + GENERATION_BITS;
const SESSION_BITS: u32 = 14;
const EPOCH: u32 = SESSION + SESSION_BITS;
const EPOCH_BITS: u32 = 64 - EPOCH;

/// A slot's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u64);

/// What a slot says of its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody holds it.
    Free,
    /// Somebody is trying to bind it.
    Claimed,
    /// A session holds it.
    Held,
    /// A socket listens on it that was leased before; it lasts as long as that socket.
    Listening,
}

/// A session: a byte of the table's file, and how often that byte has been somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId {
    pub(super) index: u16,
    pub(super) epoch: u32,
}

// === impl Slot ===

impl Slot {
    /// What a lease of this depth will say, before it is anybody's.
    pub(crate) fn wish(depth: Depth, udp: bool) -> Self {
        let depth: u64 = match depth {
            Depth::Bound => 0,
            Depth::Guarded => 1,
            Depth::Reserved => 2,
        };
        Self(depth << DEPTH | u64::from(udp) << UDP)
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(crate) fn state(self) -> State {
        match self.0 & 0b11 {
            0 => State::Free,
            1 => State::Claimed,
            2 => State::Held,
            _ => State::Listening,
        }
    }

    pub(crate) fn depth(self) -> Depth {
        match self.0 >> DEPTH & 0b11 {
            0 => Depth::Bound,
            1 => Depth::Guarded,
            _ => Depth::Reserved,
        }
    }

    pub(crate) fn udp(self) -> bool {
        self.0 >> UDP & 1 == 1
    }

    pub(crate) fn session(self) -> SessionId {
        SessionId {
            index: bits(self.0, SESSION, SESSION_BITS) as u16,
            epoch: bits(self.0, EPOCH, EPOCH_BITS) as u32,
        }
    }

    /// The same depth and protocols, claimed by the session, one generation after another slot.
    pub(super) fn claimed_after(self, before: Self, session: SessionId) -> Self {
        let generation = bits(before.0, GENERATION, GENERATION_BITS) + 1;
        let generation = bits(generation, 0, GENERATION_BITS);
        let wish = self.0 & (0b11 << DEPTH | 1 << UDP);
        let owner = u64::from(session.index) << SESSION | u64::from(session.epoch) << EPOCH;
        Self(owner | generation << GENERATION | wish).published(State::Claimed)
    }

    /// The same in another state.
    pub(super) fn published(self, state: State) -> Self {
        Self(self.0 & !0b11 | state as u64)
    }

    /// Nobody's, in the same generation.
    pub(super) fn freed(self) -> Self {
        Self(bits(self.0, GENERATION, GENERATION_BITS) << GENERATION)
    }
}

// === impl SessionId ===

impl SessionId {
    /// How many sessions there can be at once.
    pub(crate) const COUNT: usize = 1 << SESSION_BITS;

    /// The session that follows the one with the epoch `before` on the same byte. No session has
    /// epoch 0, which is what an empty table says.
    pub(super) fn after(index: u16, before: u64) -> Self {
        let epoch = bits(before.wrapping_add(1), 0, EPOCH_BITS).max(1);
        Self { index, epoch: epoch as u32 }
    }
}

fn bits(word: u64, shift: u32, count: u32) -> u64 {
    word >> shift & ((1 << count) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEVER: Slot = Slot(0);

    #[test]
    fn a_slot_tells_what_was_put_into_it() {
        let session = SessionId { index: 16_383, epoch: (1 << 26) - 1 };
        for depth in [Depth::Bound, Depth::Guarded, Depth::Reserved] {
            let slot = Slot::wish(depth, true).claimed_after(NEVER, session);
            assert_eq!((slot.state(), slot.depth(), slot.udp()), (State::Claimed, depth, true));
            assert_eq!(slot.session(), session);
            assert_eq!(slot.published(State::Held).session(), session);
        }
        assert!(!Slot::wish(Depth::Bound, false).udp());
    }

    #[test]
    fn each_claim_is_a_generation_of_its_own() {
        let session = SessionId { index: 1, epoch: 1 };
        let wish = Slot::wish(Depth::Bound, false);
        let first = wish.claimed_after(NEVER, session);
        let second = wish.claimed_after(first.published(State::Held).freed(), session);
        assert_ne!(first, second);
        let last = Slot(((1 << GENERATION_BITS) - 1) << GENERATION);
        assert_eq!(bits(wish.claimed_after(last, session).0, GENERATION, GENERATION_BITS), 0);
    }

    #[test]
    fn an_epoch_is_never_nothing_and_never_the_same_twice_in_a_row() {
        assert_eq!(SessionId::after(3, 0).epoch, 1);
        assert_eq!(SessionId::after(3, (1 << 26) - 1).epoch, 1);
        assert_eq!(SessionId::after(3, u64::MAX).epoch, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_number_is_a_slot(word: u64) {
            let slot = Slot::from_word(word);
            prop_assert!(usize::from(slot.session().index) < SessionId::COUNT);
            prop_assert_eq!(slot.freed().state(), State::Free);
            prop_assert_eq!(slot.published(slot.state()).word(), word);
            let claimed = slot.claimed_after(slot, slot.session());
            prop_assert_eq!(claimed.udp(), slot.udp());
            prop_assert_eq!(claimed.session(), slot.session());
            prop_assert_ne!(claimed.freed(), slot.freed());
        }
    }
}

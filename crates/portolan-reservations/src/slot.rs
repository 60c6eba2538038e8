//! One slot of the table: who holds a port, in 64 bits, so that it changes in one step.
//!
//! ```text
//!  63        38 37         24 23        6     5     4    3 2    1 0
//! +------------+-------------+------------+--------+-----+-----+-----+
//! | epoch   26 | session  14 | generation | listed | udp |depth|state|
//! +------------+-------------+------------+--------+-----+-----+-----+
//! ```
//!
//! Every 64-bit number is a slot, whatever wrote it. The generation grows with each claim, so that
//! a reader notices a slot that went to another holder and back meanwhile.
//!
//! A claim on the slot of a listener is `listed`: depth, protocols and record are still the
//! listener's, which most likely lives, and should not lose its name for a moment; nor for good,
//! where who claims is killed.

use crate::depth::Depth;

const DEPTH: u32 = 2;
const UDP: u32 = 4;
const LISTED: u32 = 5;
const GENERATION: u32 = 6;
const GENERATION_BITS: u32 = 18;
const SESSION: u32 = GENERATION + GENERATION_BITS;
const SESSION_BITS: u32 = 14;
const EPOCH: u32 = SESSION + SESSION_BITS;
const EPOCH_BITS: u32 = 64 - EPOCH;
/// Depth and protocols.
const CONTENTS: u64 = 0b11 << DEPTH | 1 << UDP;

/// A slot's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u64);

/// What a slot says of its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody holds it.
    Free,
    /// Somebody is trying to bind it.
    Trying,
    /// A session holds it.
    Held,
    /// A socket listens on it that was leased before; it lasts as long as that socket.
    Listening,
}

/// A session: a byte of the table's file, and how often that byte has been somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    pub(crate) index: u16,
    pub(crate) epoch: u32,
}

// === impl Slot ===

impl Slot {
    /// What a lease of this depth will say, before it is anybody's.
    pub fn wish(depth: Depth, udp: bool) -> Self {
        let depth: u64 = match depth {
            Depth::Bound => 0,
            Depth::Guarded => 1,
            Depth::Claimed => 2,
        };
        Self(depth << DEPTH | u64::from(udp) << UDP)
    }

    pub(crate) fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(crate) fn word(self) -> u64 {
        self.0
    }

    /// Whether and how it is somebody's.
    pub fn state(self) -> State {
        match self.0 & 0b11 {
            0 => State::Free,
            1 => State::Trying,
            2 => State::Held,
            _ => State::Listening,
        }
    }

    /// How deep the port is held.
    pub fn depth(self) -> Depth {
        match self.0 >> DEPTH & 0b11 {
            0 => Depth::Bound,
            1 => Depth::Guarded,
            _ => Depth::Claimed,
        }
    }

    /// Whether it is held in UDP too.
    pub fn udp(self) -> bool {
        self.0 >> UDP & 1 == 1
    }

    /// Whose it is, where it is anybody's.
    pub fn session(self) -> SessionId {
        SessionId {
            index: bits(self.0, SESSION, SESSION_BITS) as u16,
            epoch: bits(self.0, EPOCH, EPOCH_BITS) as u32,
        }
    }

    /// Whether the record tells of a listener, which lasts as long as its socket.
    pub fn is_listing(self) -> bool {
        self.state() == State::Listening || self.state() == State::Trying && self.is_listed()
    }

    /// The same slot, claimed by the session in the next generation.
    pub(crate) fn claimed_by(self, session: SessionId) -> Self {
        let generation = bits(bits(self.0, GENERATION, GENERATION_BITS) + 1, 0, GENERATION_BITS);
        let owner = u64::from(session.index) << SESSION | u64::from(session.epoch) << EPOCH;
        let listing = match self.is_listing() {
            true => self.0 & CONTENTS | 1 << LISTED,
            false => 0,
        };
        Self(owner | generation << GENERATION | listing).published(State::Trying)
    }

    /// The same claim, of which the record will tell.
    pub(crate) fn with_contents_of(self, wish: Self) -> Self {
        Self(self.0 & !(CONTENTS | 1 << LISTED) | wish.0 & CONTENTS)
    }

    /// What a claim leaves that came to nothing.
    pub(crate) fn withdrawn(self) -> Self {
        match self.is_listed() {
            true => Self(self.0 & !(1 << LISTED)).published(State::Listening),
            false => self.freed(),
        }
    }

    /// The same in another state.
    pub(crate) fn published(self, state: State) -> Self {
        Self(self.0 & !0b11 | state as u64)
    }

    /// Nobody's, in the same generation.
    pub(crate) fn freed(self) -> Self {
        Self(bits(self.0, GENERATION, GENERATION_BITS) << GENERATION)
    }

    fn is_listed(self) -> bool {
        self.0 >> LISTED & 1 == 1
    }
}

// === impl SessionId ===

impl SessionId {
    /// How many sessions there can be at once.
    pub const COUNT: usize = 1 << SESSION_BITS;

    /// Its place among all, below [`SessionId::COUNT`]; only one session at a time has it.
    pub fn place(self) -> usize {
        self.index.into()
    }

    /// The session that follows those with the epochs `before` on the same byte. No session has
    /// epoch 0, which is what an empty table says.
    pub(crate) fn after(index: u16, before: [u64; 2]) -> Self {
        let next = |epoch: u64| bits(epoch.wrapping_add(1), 0, EPOCH_BITS).max(1);
        let epoch = match next(before[0]) {
            epoch if epoch == before[1] => next(epoch),
            epoch => epoch,
        };
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
        for depth in [Depth::Bound, Depth::Guarded, Depth::Claimed] {
            let slot = NEVER.claimed_by(session).with_contents_of(Slot::wish(depth, true));
            assert_eq!((slot.state(), slot.depth(), slot.udp()), (State::Trying, depth, true));
            assert_eq!(slot.session(), session);
            assert_eq!(slot.published(State::Held).session(), session);
        }
        assert!(!Slot::wish(Depth::Bound, false).udp());
    }

    #[test]
    fn each_claim_is_a_generation_of_its_own() {
        let session = SessionId { index: 1, epoch: 1 };
        let first = NEVER.claimed_by(session);
        let second = first.published(State::Held).freed().claimed_by(session);
        assert_ne!(first, second);
        let last = Slot(((1 << GENERATION_BITS) - 1) << GENERATION);
        assert_eq!(bits(last.claimed_by(session).0, GENERATION, GENERATION_BITS), 0);
    }

    #[test]
    fn a_claim_on_a_listener_leaves_it_listed_whether_it_is_withdrawn_or_not() {
        let session = |index| SessionId { index, epoch: 9 };
        let wish = Slot::wish(Depth::Bound, false);
        let held = NEVER.claimed_by(session(1)).with_contents_of(Slot::wish(Depth::Guarded, true));
        let listener = held.published(State::Listening);
        let claim = listener.claimed_by(session(2));
        let claim_after_a_killed_one = claim.claimed_by(session(3));
        for claim in [claim, claim_after_a_killed_one] {
            let after = claim.withdrawn();
            for slot in [claim, after] {
                assert!(slot.is_listing());
                assert_eq!((slot.depth(), slot.udp()), (Depth::Guarded, true));
            }
            assert_eq!((claim.state(), after.state()), (State::Trying, State::Listening));
            let granted = claim.with_contents_of(wish).published(State::Held);
            assert!(!granted.is_listing() && !granted.freed().is_listing());
            assert_eq!((granted.depth(), granted.udp()), (Depth::Bound, false));
        }
        let plain = held.published(State::Held).freed().claimed_by(session(2));
        assert_eq!((plain.is_listing(), plain.withdrawn().state()), (false, State::Free));
    }

    #[test]
    fn an_epoch_is_never_nothing_and_never_the_same_twice_in_a_row() {
        let after = |one, other| SessionId::after(3, [one, other]).epoch;
        assert_eq!(after(0, 0), 1);
        assert_eq!(after((1 << 26) - 1, 0), 1);
        assert_eq!(after(u64::MAX, 0), 1);
        assert_eq!((after(4, 5), after(5, 4)), (6, 6), "where one of them was scribbled on");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_number_is_a_slot(word: u64) {
            let slot = Slot::from_word(word);
            prop_assert!(usize::from(slot.session().index) < SessionId::COUNT);
            prop_assert_eq!(slot.freed().state(), State::Free);
            prop_assert_eq!(slot.published(slot.state()).word(), word);
            let claimed = slot.claimed_by(slot.session());
            prop_assert_eq!(claimed.state(), State::Trying);
            prop_assert_eq!(claimed.is_listing(), slot.is_listing());
            prop_assert_eq!(claimed.session(), slot.session());
            prop_assert_ne!(claimed.freed(), slot.freed());
        }
    }
}

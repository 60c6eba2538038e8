//! The bits of a slot: the holder of a port in one word, which changes atomically.
//!
//! ```text
//!  63        38 37         24 23        6      5      4    3 2    1 0
//! +------------+-------------+------------+---------+-----+-----+-----+
//! | epoch   26 | session  14 | generation | listed  | udp |depth|state|
//! +------------+-------------+------------+---------+-----+-----+-----+
//! ```
//!
//! Every 64-bit number is a valid slot. The generation grows with each claim, so that a reader
//! notices a slot that was released and claimed again in between.
//!
//! A claim on the slot of a listener is `listed`: depth, protocols and record are still the
//! listener's, which keeps its entry if the claim is withdrawn or the claiming process is killed.

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

/// The contents of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u64);

/// The state of a port in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No session holds it.
    Free,
    /// A session has claimed it and is binding it.
    Trying,
    /// A session holds a lease on it.
    Held,
    /// A socket listens on it that was leased before; the entry lasts as long as that socket.
    Listening,
}

/// A session: the index of a lock byte of the table's file, and how many sessions had that byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    pub(crate) index: u16,
    pub(crate) epoch: u32,
}

// === impl Slot ===

impl Slot {
    /// The depth and protocols of a requested lease, without an owner.
    pub fn requested(depth: Depth, udp: bool) -> Self {
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

    /// The state.
    pub fn state(self) -> State {
        match self.0 & 0b11 {
            0 => State::Free,
            1 => State::Trying,
            2 => State::Held,
            _ => State::Listening,
        }
    }

    /// The hold level.
    pub fn depth(self) -> Depth {
        match self.0 >> DEPTH & 0b11 {
            0 => Depth::Bound,
            1 => Depth::Guarded,
            _ => Depth::Claimed,
        }
    }

    /// Whether the lease includes UDP.
    pub fn udp(self) -> bool {
        self.0 >> UDP & 1 == 1
    }

    /// The session that holds or claimed the port; meaningless if the slot is free.
    pub fn session(self) -> SessionId {
        SessionId {
            index: bits(self.0, SESSION, SESSION_BITS) as u16,
            epoch: bits(self.0, EPOCH, EPOCH_BITS) as u32,
        }
    }

    /// Whether it is a claim of the session.
    pub fn is_claim_of(self, session: SessionId) -> bool {
        self.state() == State::Trying && self.session() == session
    }

    /// Whether the record is that of a listener, which lasts as long as its socket.
    pub fn is_listing(self) -> bool {
        self.state() == State::Listening || self.state() == State::Trying && self.is_listed()
    }

    /// The slot claimed by the session, in the next generation.
    pub(crate) fn claimed_by(self, session: SessionId) -> Self {
        let generation = bits(bits(self.0, GENERATION, GENERATION_BITS) + 1, 0, GENERATION_BITS);
        let owner = u64::from(session.index) << SESSION | u64::from(session.epoch) << EPOCH;
        let listing = if self.is_listing() { self.0 & CONTENTS | 1 << LISTED } else { 0 };
        Self(owner | generation << GENERATION | listing).with_state(State::Trying)
    }

    /// The claim with the depth and protocols of `requested`, no longer listed.
    pub(crate) fn with_contents_of(self, requested: Self) -> Self {
        Self(self.0 & !(CONTENTS | 1 << LISTED) | requested.0 & CONTENTS)
    }

    /// The slot after its claim was withdrawn.
    pub(crate) fn withdrawn(self) -> Self {
        match self.is_listed() {
            true => Self(self.0 & !(1 << LISTED)).with_state(State::Listening),
            false => self.freed(),
        }
    }

    /// The slot in another state.
    pub(crate) fn with_state(self, state: State) -> Self {
        Self(self.0 & !0b11 | state as u64)
    }

    /// The slot without an owner, in the same generation.
    pub(crate) fn freed(self) -> Self {
        Self(bits(self.0, GENERATION, GENERATION_BITS) << GENERATION)
    }

    fn is_listed(self) -> bool {
        self.0 >> LISTED & 1 == 1
    }
}

// === impl SessionId ===

impl SessionId {
    /// The largest number of sessions at a time.
    pub const COUNT: usize = 1 << SESSION_BITS;

    /// Its index, below [`SessionId::COUNT`] and unique among living sessions.
    pub fn index(self) -> usize {
        self.index.into()
    }

    /// The session after the one with the epoch `before` on the same lock byte. No session has epoch
    /// 0, which is the value in an empty table.
    pub(crate) fn next(index: u16, before: u64) -> Self {
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

    const EMPTY: Slot = Slot(0);

    #[test]
    fn slot_returns_what_was_stored_in_it() {
        let session = SessionId { index: 16_383, epoch: (1 << 26) - 1 };
        for depth in [Depth::Bound, Depth::Guarded, Depth::Claimed] {
            let slot = EMPTY.claimed_by(session).with_contents_of(Slot::requested(depth, true));
            assert_eq!((slot.state(), slot.depth(), slot.udp()), (State::Trying, depth, true));
            assert_eq!(slot.session(), session);
            assert_eq!(slot.with_state(State::Held).session(), session);
        }
        assert!(!Slot::requested(Depth::Bound, false).udp());
    }

    #[test]
    fn each_claim_has_its_own_generation() {
        let session = SessionId { index: 1, epoch: 1 };
        let first = EMPTY.claimed_by(session);
        let second = first.with_state(State::Held).freed().claimed_by(session);
        assert_ne!(first, second);
        let last = Slot(((1 << GENERATION_BITS) - 1) << GENERATION);
        assert_eq!(bits(last.claimed_by(session).0, GENERATION, GENERATION_BITS), 0);
    }

    #[test]
    fn listener_stays_listed_during_and_after_a_withdrawn_claim() {
        let session = |index| SessionId { index, epoch: 9 };
        let requested = Slot::requested(Depth::Bound, false);
        let held =
            EMPTY.claimed_by(session(1)).with_contents_of(Slot::requested(Depth::Guarded, true));
        let listener = held.with_state(State::Listening);
        let claim = listener.claimed_by(session(2));
        let claim_after_killed_claim = claim.claimed_by(session(3));
        for claim in [claim, claim_after_killed_claim] {
            let after = claim.withdrawn();
            for slot in [claim, after] {
                assert!(slot.is_listing());
                assert_eq!((slot.depth(), slot.udp()), (Depth::Guarded, true));
            }
            assert_eq!((claim.state(), after.state()), (State::Trying, State::Listening));
            let granted = claim.with_contents_of(requested).with_state(State::Held);
            assert!(!granted.is_listing() && !granted.freed().is_listing());
            assert_eq!((granted.depth(), granted.udp()), (Depth::Bound, false));
        }
        let plain = held.with_state(State::Held).freed().claimed_by(session(2));
        assert_eq!((plain.is_listing(), plain.withdrawn().state()), (false, State::Free));
    }

    #[test]
    fn epoch_grows_and_is_never_zero() {
        let next = |before| SessionId::next(3, before).epoch;
        assert_eq!((next(0), next(4)), (1, 5));
        assert_eq!((next((1 << 26) - 1), next(u64::MAX)), (1, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_word_is_a_valid_slot(word: u64) {
            let slot = Slot::from_word(word);
            prop_assert!(slot.session().index() < SessionId::COUNT);
            prop_assert_eq!(slot.freed().state(), State::Free);
            prop_assert_eq!(slot.with_state(slot.state()).word(), word);
            let claimed = slot.claimed_by(slot.session());
            prop_assert_eq!(claimed.state(), State::Trying);
            prop_assert_eq!(claimed.is_listing(), slot.is_listing());
            prop_assert_eq!(claimed.session(), slot.session());
            prop_assert_ne!(claimed.freed(), slot.freed());
        }
    }
}

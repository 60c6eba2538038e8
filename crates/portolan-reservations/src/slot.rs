//! One port's slot: its [bits] and the [protocol] by which it changes hands.

mod bits;
mod protocol;

pub use bits::{SessionId, Slot, State};
pub(crate) use protocol::{ClaimedSlot, SlotProtocol};

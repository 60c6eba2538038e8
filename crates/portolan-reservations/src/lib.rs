//! The reservations of this host: which session holds which port, in one table that every process
//! of a user in one network namespace shares, without a daemon.
//!
//! A *session* is one open file description of the table's file with a lock on one byte of its own
//! (`F_OFD_SETLK`, fcntl(2)). The kernel keeps the lock as long as any process has the description
//! open, children that inherited it included, and not a moment longer. A slot names the session
//! that holds it; where that session's byte is not locked, or the session has another epoch by now,
//! the slot is free whatever it says. So a reservation ends with its owner, killed at whichever
//! instruction, with no timer and no process id.
//!
//! Knows nothing of sockets: that a stranger has a port shows when it is bound.

mod cell;
mod counts;
mod depth;
mod error;
mod file;
mod lock;
#[cfg(test)]
mod model;
mod rate_limit;
mod record;
mod seat;
mod slot;
mod table;
mod word;

pub use counts::{Counted, Crowd, Quota};
pub use depth::{Depth, InvalidDepth};
pub use error::TableError;
pub use rate_limit::Rate;
pub use record::{Record, Tally};
pub use slot::{SessionId, Slot, State};
pub use table::{Claim, Table};

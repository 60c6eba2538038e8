//! What a killed Portolan has left behind, found by proof and not by process id.
//!
//! A `run` or `up` has a [record](OwnerRecord) beside the reservation table: a file with a random name, which it keeps locked (flock(2)). The
//! kernel unlocks it when the process ends, however it ends. Its programs have that name in their environment. A process is a
//! leftover if the name is that of a record which nobody has locked, and if it started after the record's owner: another
//! process has neither by accident. Its descendants are leftovers as well.
//!
//! Shims end leftovers themselves; something is left only if they were killed as well.

mod end;
mod find;
mod record;

pub use end::{Ended, end};
pub use find::{Leftover, Leftovers, find};
pub use record::{Marker, OwnerKind, OwnerRecord};

pub(crate) use end::kill_marked;
pub(crate) use record::VARIABLE;

//! The journal of the store `memory`: a write-ahead log and snapshots in its data directory.
//!
//! The state is in memory. Every change appends a [`Record`](record::Record) to the state's outbox; the writer
//! thread appends what has accumulated to the newest journal file and synchronises it (fdatasync(2)) once for all
//! of it, which is a group commit. Only then are the callers answered and the feeds told. A lease renewal
//! alone is written and not synchronised: after a power failure a lease may end up to a heartbeat earlier, and
//! [`recovery`] extends it by as much.
//!
//! A file is UTF-8 text. A line is the CRC-32 of a JSON value, a space, and the value (see [`frame`]). The first
//! line is the [`record::Header`].

pub(super) mod frame;
pub(super) mod record;
pub(super) mod recovery;
pub(super) mod writer;

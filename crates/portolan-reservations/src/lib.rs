//! The reservation table of a host: which session holds which port. All processes of a user in one
//! network namespace share the table, without a daemon.
//!
//! A *session* is one open file description of the table's file with a lock on a byte of its own
//! (`F_OFD_SETLK`, fcntl(2)), which never passes exec, and the [shares](SessionShare) of it that children
//! inherit: locks on an empty file. The kernel keeps a lock as long as any process has its description
//! open. A slot names the session that holds it; if neither the byte of that session nor a share is locked,
//! or the session has another epoch by now, the slot is free. So a reservation ends with its owner and the
//! last child that inherited it, even if they are killed, with neither a timer nor a process id.
//!
//! The crate does not know sockets: whether a foreign process uses a port shows when it is bound.

mod atomic;
mod depth;
mod error;
mod file;
mod lock;
mod lock_holder;
#[cfg(test)]
mod model;
mod quota;
mod rate_limit;
mod record;
mod share;
mod slot;
mod table;

pub use depth::{Depth, InvalidDepth};
pub use error::TableError;
pub use lock_holder::LockHolder;
pub use quota::{LeaseBound, Quota, QuotaLock};
pub use rate_limit::Rate;
pub use record::{Record, ServiceKey};
pub use share::SessionShare;
pub use slot::{SessionId, Slot, State};
pub use table::{Claim, Table};

//! Why the table cannot be used, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why the table of this host's reservations cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The system refused. Retrying may help, where it was short of something.
    #[error("cannot use the table of reservations {}: {source}; check the disk's space and the file's permissions", path.display())]
    Unusable {
        /// The table.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not a plain file that this user alone can write. Retrying does not help.
    #[error("the table of reservations {} is not a file that is yours alone; remove it", path.display())]
    NotOwned {
        /// The table.
        path: PathBuf,
    },
    /// It does not hold what it should, and somebody is using it. Retrying helps once they ended.
    #[error(
        "the table of reservations {} is damaged and in use; end the programs that hold ports, then try again",
        path.display()
    )]
    Damaged {
        /// The table.
        path: PathBuf,
    },
    /// Another version of Portolan made it and is using it. Retrying helps once its programs ended.
    #[error(
        "the table of reservations {} is in use by another version of Portolan: it has layout {found}, and this version uses layout {expected}; end the programs of the other version that hold ports, or use the same version for all",
        path.display()
    )]
    OtherVersion {
        /// The table.
        path: PathBuf,
        /// The number of its layout.
        found: u64,
        /// The number of the layout that this version uses.
        expected: u64,
    },
    /// Somebody removed it while it was in use. A new allocator uses the new table.
    #[error(
        "the table of reservations {} was removed while in use; start this program again",
        path.display()
    )]
    Removed {
        /// The table.
        path: PathBuf,
    },
    /// Another process keeps the table to itself for longer than it ever needs. Retrying may help.
    #[error("the table of reservations {} stays locked; see which process hangs", path.display())]
    Busy {
        /// The table.
        path: PathBuf,
    },
    /// As many processes hold ports as the table has room for. Retrying helps once one ended.
    #[error(
        "the table of reservations {} has room for {limit} sessions and all are in use; end some programs that hold ports",
        path.display()
    )]
    Full {
        /// The table.
        path: PathBuf,
        /// How many sessions there may be.
        limit: usize,
    },
}

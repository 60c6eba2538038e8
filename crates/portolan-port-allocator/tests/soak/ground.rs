//! What all processes of a soak share, and an opinion of its own on who has which port.
//!
//! The opinion is made of the old locks of fcntl(2), which belong to a process. The kernel frees
//! them while it closes the files of a process that is killed, and a lock of an open file
//! description, as the allocator uses, only once that is done: so a port that is granted again after
//! a kill is never still locked here by the dead, and one that is locked is granted twice.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use portolan_shared_table::SharedTable;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    Stop,
    Grants,
    Refusals,
    /// Servers that bound a leased port by its number, or listened with the lease's socket.
    Listened,
    /// Leases that a child kept beyond the death of its owner.
    Inherited,
    /// Ports that a stranger bound, and tried to.
    StrangersBinds,
    StrangersTries,
    /// A stranger's port that a mere reservation was for: possible, and no fault.
    ReservedLost,
    // --- and these must not be:
    Duplicates,
    Thefts,
    FailedListens,
    Errors,
}

/// Why a port counts as somebody's: each is a byte for each port.
#[derive(Debug, Clone, Copy)]
enum Claim {
    Owned,
    /// Owned, and safe from strangers.
    Protected,
    Inherited,
}

pub(crate) struct Ground {
    locks: File,
    figures: SharedTable,
    /// A process does not get in the way of its own locks.
    own: RefCell<HashSet<u16>>,
}

// === impl Ground ===

impl Ground {
    /// The common ground in this folder. A process may open it once: to close a second descriptor
    /// would free all locks.
    pub(crate) fn open(folder: &Path) -> Self {
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(folder.join(name)).unwrap()
        };
        let figures = open("figures");
        figures.set_len(4096).unwrap();
        let figures = SharedTable::map(&figures, 512).unwrap();
        Self { locks: open("locks"), figures, own: RefCell::default() }
    }

    pub(crate) fn count(&self, figure: Figure) {
        self.figures[figure as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn figure(&self, figure: Figure) -> u64 {
        self.figures[figure as usize].load(Relaxed)
    }

    /// Takes the port into this process's possession; or says which process has it.
    pub(crate) fn own(&self, port: u16, protected: bool) -> Result<(), i32> {
        if !self.own.borrow_mut().insert(port) {
            return Err(std::process::id().cast_signed());
        }
        self.lock(Claim::Owned, port)?;
        self.owner(Claim::Inherited, port).map_or(Ok(()), Err)?;
        if protected { self.lock(Claim::Protected, port) } else { Ok(()) }
    }

    /// To be called before the port is given back.
    pub(crate) fn disown(&self, port: u16) {
        for claim in [Claim::Protected, Claim::Owned] {
            _ = self.set(libc::F_UNLCK, claim, port);
        }
        self.own.borrow_mut().remove(&port);
    }

    /// Takes the port over from the process that started this one.
    pub(crate) fn inherit(&self, port: u16) {
        self.lock(Claim::Inherited, port).unwrap();
    }

    /// Which other process has the port, safe from strangers.
    pub(crate) fn protector(&self, port: u16) -> Option<i32> {
        self.owner(Claim::Protected, port)
    }

    fn lock(&self, claim: Claim, port: u16) -> Result<(), i32> {
        // Who has it may have let it go since, and is then not known any more.
        let owner = || self.owner(claim, port).unwrap_or_default();
        self.set(libc::F_WRLCK, claim, port).map(drop).map_err(|_| owner())
    }

    fn set(&self, kind: i32, claim: Claim, port: u16) -> nix::Result<i32> {
        fcntl(&self.locks, FcntlArg::F_SETLK(&request(kind, claim, port)))
    }

    fn owner(&self, claim: Claim, port: u16) -> Option<i32> {
        let mut lock = request(libc::F_WRLCK, claim, port);
        fcntl(&self.locks, FcntlArg::F_GETLK(&mut lock)).unwrap();
        (i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid)
    }
}

fn request(kind: i32, claim: Claim, port: u16) -> libc::flock {
    libc::flock {
        l_type: kind.try_into().unwrap(),
        l_whence: libc::SEEK_SET.try_into().unwrap(),
        l_start: (claim as i64) << 16 | i64::from(port),
        l_len: 1,
        l_pid: 0,
    }
}

//! What all processes of a soak share, and an opinion of its own on who has which port.
//!
//! The opinion is made of the old locks of fcntl(2), which belong to a process. The kernel frees
//! them while it closes the files of a process that is killed, and a lock of an open file
//! description, as the allocator uses, only once that is done: so a port that is granted again after
//! a kill is never still locked here by the dead, and one that is locked is granted twice.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::os::unix::process::parent_id;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use portolan_shared_table::SharedTable;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    Stop,
    /// Grants, and moments at which strangers had ports: tells what came first.
    Clock,
    Grants,
    Refusals,
    /// Ports that were granted together with others, all or none.
    Together,
    /// Ports that were granted in UDP as well.
    Datagrams,
    /// Servers that bound a leased port by its number, or listened with the lease's socket.
    Listened,
    /// Sockets that listen and were handed to a child.
    HandedOver,
    /// Leases that a child kept beyond the death of its owner.
    Inherited,
    /// Ports that a stranger bound, and tried to.
    StrangersBinds,
    StrangersTries,
    /// A port outside Portolan's protection that a stranger got: possible, and no fault. Either only
    /// its number was reserved, or its guard was up and the stranger set `SO_REUSEADDR`.
    NumbersLost,
    GuardedLost,
    // --- and these must not be:
    Duplicates,
    Thefts,
    FailedListens,
    Errors,
}

/// From whom a port is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Safety {
    /// From other owners.
    Number,
    /// From strangers too, but for those who set `SO_REUSEADDR`.
    Guarded,
    /// From everybody.
    Sealed,
}

/// Why a port counts as somebody's: each is a byte for each port.
#[derive(Debug, Clone, Copy)]
enum Claim {
    Owned,
    Guarded,
    Sealed,
    /// In UDP, from everybody.
    Datagrams,
    Inherited,
    /// A stranger who sets `SO_REUSEADDR` is at it: one at a time.
    Strange,
}

/// How many bytes a port has in its file.
const BYTES: i64 = 8;
/// The system looks through all locks of a file for each, so there are many files.
const FILES: usize = 64;
/// How many words there are before those of the ports.
const FIGURES: usize = 64;
const PORTS: usize = 1 << 16;

pub(crate) struct Ground {
    locks: Vec<File>,
    words: SharedTable,
    /// A process does not get in the way of its own locks.
    own: RefCell<HashSet<u16>>,
    /// Who started this process.
    parent: u32,
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
        let words = open("words");
        words.set_len((FIGURES + PORTS) as u64 * 8).unwrap();
        let words = SharedTable::map(&words, FIGURES + PORTS).unwrap();
        let locks = (0..FILES).map(|file| open(&format!("locks-{file}"))).collect();
        Self { locks, words, own: RefCell::default(), parent: parent_id() }
    }

    /// Whether the soak has ended, by itself or because whoever runs it was killed.
    pub(crate) fn is_over(&self) -> bool {
        self.figure(Figure::Stop) > 0 || parent_id() != self.parent
    }

    /// Counts one more, and says how many there were before.
    pub(crate) fn count(&self, figure: Figure) -> u64 {
        self.words[figure as usize].fetch_add(1, SeqCst)
    }

    pub(crate) fn figure(&self, figure: Figure) -> u64 {
        self.words[figure as usize].load(SeqCst)
    }

    /// Takes the port into this process's possession; or says which process has it.
    pub(crate) fn own(&self, port: u16, safety: Safety) -> Result<(), i32> {
        if !self.own.borrow_mut().insert(port) {
            return Err(std::process::id().cast_signed());
        }
        self.lock(Claim::Owned, port)?;
        self.owner(Claim::Inherited, port).map_or(Ok(()), Err)?;
        self.protect(port, safety)
    }

    /// From now on the port is as safe as this.
    pub(crate) fn protect(&self, port: u16, safety: Safety) -> Result<(), i32> {
        if safety >= Safety::Guarded {
            self.lock(Claim::Guarded, port)?;
        }
        if safety == Safety::Sealed { self.lock(Claim::Sealed, port) } else { Ok(()) }
    }

    pub(crate) fn protect_datagrams(&self, port: u16) -> Result<(), i32> {
        self.lock(Claim::Datagrams, port)
    }

    /// To be called before the port is let go of: strangers may have it from now on.
    pub(crate) fn unprotect(&self, port: u16) {
        let claims = Claim::Guarded as i64..=Claim::Datagrams as i64;
        self.unlock(port, *claims.start(), claims.count() as i64);
    }

    /// To be called before the port is given back.
    pub(crate) fn disown(&self, port: u16) {
        self.unlock(port, 0, BYTES);
        self.own.borrow_mut().remove(&port);
    }

    /// Takes the port over from the process that started this one; or says which has done so before.
    pub(crate) fn inherit(&self, port: u16) -> Result<(), i32> {
        self.lock(Claim::Inherited, port)
    }

    /// Which other process has the port, at least as safe as this.
    pub(crate) fn protector(&self, port: u16, safety: Safety) -> Option<i32> {
        if safety == Safety::Sealed {
            return self.owner(Claim::Sealed, port);
        }
        self.owner(Claim::Guarded, port).or_else(|| self.owner(Claim::Inherited, port))
    }

    /// Which other process has the port in UDP.
    pub(crate) fn receiver(&self, port: u16) -> Option<i32> {
        self.owner(Claim::Datagrams, port)
    }

    /// A moment that is later than all before it.
    pub(crate) fn moment(&self) -> u64 {
        self.count(Figure::Clock) + 1
    }

    /// Notes that a stranger who sets `SO_REUSEADDR` may have the port from now on, and says when one
    /// had it last; none where another is at it already.
    pub(crate) fn note_stranger(&self, port: u16) -> Option<u64> {
        self.lock(Claim::Strange, port).ok()?;
        Some(self.stranger(port).swap(u64::MAX, SeqCst))
    }

    /// The stranger is done with the port, which one had last at this moment.
    pub(crate) fn forget_stranger(&self, port: u16, last: u64) {
        self.stranger(port).store(last, SeqCst);
        self.unlock(port, Claim::Strange as i64, 1);
    }

    /// Whether such a stranger has had the port since that moment.
    pub(crate) fn had_stranger(&self, port: u16, since: u64) -> bool {
        self.stranger(port).load(SeqCst) >= since
    }

    fn stranger(&self, port: u16) -> &AtomicU64 {
        &self.words[FIGURES + usize::from(port)]
    }

    fn lock(&self, claim: Claim, port: u16) -> Result<(), i32> {
        // Who has it may have let it go since, and is then not known any more.
        let owner = || self.owner(claim, port).unwrap_or_default();
        self.set(port, &request(libc::F_WRLCK, port, claim as i64, 1)).map_err(|_| owner())
    }

    fn unlock(&self, port: u16, first: i64, count: i64) {
        self.set(port, &request(libc::F_UNLCK, port, first, count)).unwrap();
    }

    fn set(&self, port: u16, lock: &libc::flock) -> nix::Result<()> {
        fcntl(self.file(port), FcntlArg::F_SETLK(lock)).map(drop)
    }

    fn owner(&self, claim: Claim, port: u16) -> Option<i32> {
        let mut lock = request(libc::F_WRLCK, port, claim as i64, 1);
        fcntl(self.file(port), FcntlArg::F_GETLK(&mut lock)).unwrap();
        (i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid)
    }

    fn file(&self, port: u16) -> &File {
        &self.locks[usize::from(port) % FILES]
    }
}

fn request(kind: i32, port: u16, first: i64, count: i64) -> libc::flock {
    libc::flock {
        l_type: kind.try_into().unwrap(),
        l_whence: libc::SEEK_SET.try_into().unwrap(),
        l_start: i64::from(port) * BYTES + first,
        l_len: count,
        l_pid: 0,
    }
}

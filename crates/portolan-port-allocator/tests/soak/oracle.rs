//! The test oracle of a soak: shared counters, and an independent record of the owner of each port.
//!
//! Ownership is recorded with the traditional record locks of fcntl(2), which belong to a process. The
//! kernel releases them while it closes the files of a killed process, and open file description locks,
//! which the allocator uses, only afterwards. So a port that is granted again after a kill is no longer
//! locked here, and a granted port that is still locked has two owners.

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

/// A counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    Stop,
    /// The logical clock, which orders grants and binds of foreign processes.
    Clock,
    Grants,
    Refusals,
    /// Ports of requests for several ports.
    Together,
    /// Ports granted in UDP too.
    Datagrams,
    /// Servers that listened on a leased port, with its socket or by its number.
    Listened,
    /// Listening sockets that were passed to a child.
    HandedOver,
    /// Leases that a child kept after its owner was killed.
    Inherited,
    /// Ports that foreign processes bound, and attempts.
    ForeignBinds,
    ForeignAttempts,
    /// Leased ports that a foreign process got without a fault: of a claimed lease, or of a guarded one
    /// with `SO_REUSEADDR`.
    ClaimedLost,
    GuardedLost,
    // Faults:
    Duplicates,
    Takeovers,
    FailedListens,
    Errors,
}

/// What a port is protected against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Safety {
    /// Other owners.
    Number,
    /// Foreign processes too, except with `SO_REUSEADDR`.
    Guarded,
    /// Every process.
    Sealed,
}

/// The kinds of ownership; each port has one lock byte for each.
#[derive(Debug, Clone, Copy)]
enum Claim {
    Owned,
    Guarded,
    Sealed,
    /// In UDP, against every process.
    Datagrams,
    Inherited,
    /// A foreign process with `SO_REUSEADDR` tries the port: one at a time.
    Strange,
}

/// The number of lock bytes of a port.
const BYTES: i64 = 8;
/// Several files, because the kernel searches all locks of a file for each operation.
const FILES: usize = 64;
/// The number of words before those of the ports.
const FIGURES: usize = 64;
const PORTS: usize = 1 << 16;

pub(crate) struct Oracle {
    locks: Vec<File>,
    words: SharedTable,
    /// The ports of this process, whose own locks do not conflict.
    own: RefCell<HashSet<u16>>,
    /// The parent process.
    parent: u32,
}

// === impl Oracle ===

impl Oracle {
    /// Opens the oracle in this directory; once for each process, because closing a second descriptor
    /// would release all locks.
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

    /// Whether the soak has ended or its process was killed.
    pub(crate) fn has_ended(&self) -> bool {
        self.figure(Figure::Stop) > 0 || parent_id() != self.parent
    }

    /// Increments a counter, and returns its previous value.
    pub(crate) fn count(&self, figure: Figure) -> u64 {
        self.words[figure as usize].fetch_add(1, SeqCst)
    }

    pub(crate) fn figure(&self, figure: Figure) -> u64 {
        self.words[figure as usize].load(SeqCst)
    }

    /// Records this process as the owner of the port, or returns the process that is.
    pub(crate) fn own(&self, port: u16, safety: Safety) -> Result<(), i32> {
        if !self.own.borrow_mut().insert(port) {
            return Err(std::process::id().cast_signed());
        }
        self.lock(Claim::Owned, port)?;
        self.owner(Claim::Inherited, port).map_or(Ok(()), Err)?;
        self.protect(port, safety)
    }

    /// Records the protection of the port.
    pub(crate) fn protect(&self, port: u16, safety: Safety) -> Result<(), i32> {
        if safety >= Safety::Guarded {
            self.lock(Claim::Guarded, port)?;
        }
        if safety == Safety::Sealed { self.lock(Claim::Sealed, port) } else { Ok(()) }
    }

    pub(crate) fn protect_datagrams(&self, port: u16) -> Result<(), i32> {
        self.lock(Claim::Datagrams, port)
    }

    /// Removes the protection. To be called before the socket is closed.
    pub(crate) fn unprotect(&self, port: u16) {
        let claims = Claim::Guarded as i64..=Claim::Datagrams as i64;
        self.unlock(port, *claims.start(), claims.count() as i64);
    }

    /// Removes the ownership. To be called before the port is released.
    pub(crate) fn disown(&self, port: u16) {
        self.unlock(port, 0, BYTES);
        self.own.borrow_mut().remove(&port);
    }

    /// Records this process as the inheritor of its parent, or returns the process that is.
    pub(crate) fn inherit(&self, port: u16) -> Result<(), i32> {
        self.lock(Claim::Inherited, port)
    }

    /// The other process that protects the port at least like this.
    pub(crate) fn protector(&self, port: u16, safety: Safety) -> Option<i32> {
        if safety == Safety::Sealed {
            return self.owner(Claim::Sealed, port);
        }
        self.owner(Claim::Guarded, port).or_else(|| self.owner(Claim::Inherited, port))
    }

    /// The other process that owns the port in UDP.
    pub(crate) fn receiver(&self, port: u16) -> Option<i32> {
        self.owner(Claim::Datagrams, port)
    }

    /// A logical time later than all before it.
    pub(crate) fn moment(&self) -> u64 {
        self.count(Figure::Clock) + 1
    }

    /// Records that a foreign process with `SO_REUSEADDR` may have the port from now on, and returns when
    /// one had it last; none if another one tries it already.
    pub(crate) fn begin_foreign(&self, port: u16) -> Option<u64> {
        self.lock(Claim::Strange, port).ok()?;
        Some(self.last_foreign(port).swap(u64::MAX, SeqCst))
    }

    /// Records that the foreign process is done, and when one had the port last.
    pub(crate) fn end_foreign(&self, port: u16, last: u64) {
        self.last_foreign(port).store(last, SeqCst);
        self.unlock(port, Claim::Strange as i64, 1);
    }

    /// Whether such a foreign process has had the port since that time.
    pub(crate) fn had_foreign(&self, port: u16, since: u64) -> bool {
        self.last_foreign(port).load(SeqCst) >= since
    }

    fn last_foreign(&self, port: u16) -> &AtomicU64 {
        &self.words[FIGURES + usize::from(port)]
    }

    fn lock(&self, claim: Claim, port: u16) -> Result<(), i32> {
        // The owner may have released it meanwhile.
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

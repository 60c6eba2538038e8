//! The reservations of this host: one slot for each port, shared by every process of this user in
//! one network namespace, without a daemon.
//!
//! A *session* is one open file description of the table's file with a lock on one byte of its own
//! (`F_OFD_SETLK`, fcntl(2)). The kernel keeps the lock as long as any process has the description
//! open, children that inherited it included, and not a moment longer. A slot names the session
//! that holds it; where that session's byte is not locked, or the session has another epoch by now,
//! the slot is free whatever it says. So a lease ends with its owner, killed at whichever
//! instruction, with no timer and no process id.
//!
//! A slot changes only by compare-and-swap. Whoever moved it to *claimed* owns its record until it
//! publishes the slot; readers take a record only if the slot did not change meanwhile.

mod file;
mod lock;
mod record;
mod slot;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::time::Duration;

use parking_lot::Mutex;
use portolan_shared_table::SharedTable;

use crate::error::TableError;
use lock::Kind;

pub(crate) use record::Record;
pub(crate) use slot::{SessionId, Slot, State};

/// How often a compare-and-swap is tried again. Each failure means that somebody else moved on.
const TRIES: usize = 64;
/// How long another process may keep the table to itself. It needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The table of this host.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
    file: File,
    words: SharedTable,
    /// The pages of records that have disk space behind them, as far as this process knows.
    backed: Mutex<HashSet<u64>>,
}

/// A slot that is ours to publish or to withdraw.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) port: u16,
    now: Slot,
    wish: Slot,
    /// Whether the slot was taken over from a session that had ended.
    pub(crate) reclaimed: bool,
}

// === impl Table ===

impl Table {
    /// Opens the table of this network namespace in the folder, and makes it where there is none.
    pub(crate) fn open(folder: &Path) -> Result<Self, TableError> {
        let (path, file) = file::open(folder)?;
        let unusable = |source| TableError::Unusable { path: path.clone(), source };
        let words = SharedTable::map(&file, file::WORDS).map_err(unusable)?;
        Ok(Self { path, file, words, backed: Mutex::default() })
    }

    /// Opens a session on this description; at most once for each table.
    pub(crate) fn open_session(&self, seed: u64) -> Result<SessionId, TableError> {
        // Nobody rebuilds the table while a session is about to begin, or while one lasts.
        self.keep_as_it_is()?;
        let session = self.check().and_then(|()| self.lock_a_session(seed));
        lock::unlock(&self.file, file::INIT_LOCK).map_err(|source| self.unusable(source))?;
        session
    }

    /// Whether the table is still the one that others open.
    pub(crate) fn check(&self) -> Result<(), TableError> {
        let path = || self.path.clone();
        let found = self.file.metadata().map_err(|source| self.unusable(source))?;
        if found.nlink() == 0 {
            return Err(TableError::Removed { path: path() });
        }
        // In this order: to touch what was cut off would end this process.
        let header = || [self.words[0].load(Acquire), self.words[1].load(Acquire)];
        match found.len() == file::LENGTH && header() == file::HEADER {
            true => Ok(()),
            false => Err(TableError::Damaged { path: path() }),
        }
    }

    /// The description that keeps the session.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Takes the slot of a port for the session, or says who has it.
    ///
    /// A slot of a listener may be claimed: whether the listener is still there is known to the
    /// kernel, and shows when the port is bound.
    pub(crate) fn claim(&self, port: u16, session: SessionId, wish: Slot) -> Result<Claim, Slot> {
        let word = self.slot_word(port);
        let mut before = Slot::from_word(word.load(Acquire));
        for _ in 0..TRIES {
            if !matches!(before.state(), State::Free | State::Listening)
                && self.is_alive(before.session(), Some(session))
            {
                return Err(before);
            }
            let now = before.claimed_by(session);
            match word.compare_exchange(before.word(), now.word(), AcqRel, Acquire) {
                Ok(_) => {
                    let reclaimed = before.state() != State::Free && !before.is_listing();
                    return Ok(Claim { port, now, wish, reclaimed });
                }
                Err(found) => before = Slot::from_word(found),
            }
        }
        Err(before)
    }

    /// Writes who holds the port, and makes the claim a lease.
    pub(crate) fn publish(&self, claim: &Claim, record: &Record) -> Result<Slot, TableError> {
        let word = self.slot_word(claim.port);
        let now = claim.now.with_contents_of(claim.wish);
        if let Err(source) = self.back(claim.port) {
            word.store(now.freed().word(), Release);
            return Err(self.unusable(source));
        }
        word.store(now.word(), Relaxed);
        // The record's words must not be seen before the claim is, nor as those of a listener.
        fence(Release);
        record.write(self.record_words(claim.port));
        let slot = now.published(State::Held);
        word.store(slot.word(), Release);
        Ok(slot)
    }

    /// Gives a claim up. A listener that was there before is still listed.
    pub(crate) fn withdraw(&self, claim: &Claim) {
        self.slot_word(claim.port).store(claim.now.withdrawn().word(), Release);
    }

    /// Makes a lease the listing of a listener, which lasts as long as the socket of this inode.
    pub(crate) fn leave_to_listener(
        &self,
        port: u16,
        slot: Slot,
        inode: u64,
    ) -> Result<(), TableError> {
        let word = self.slot_word(port);
        if word.load(Acquire) == slot.word() {
            // Nobody asks for the inode of a lease, so it need not be claimed meanwhile, and is
            // never without its name.
            Record::write_inode(self.record_words(port), inode);
            let listing = slot.published(State::Listening);
            if word.compare_exchange(slot.word(), listing.word(), AcqRel, Acquire).is_ok() {
                return Ok(());
            }
        }
        Err(TableError::Damaged { path: self.path.clone() })
    }

    /// Frees the slot, if it is still the one that was granted: nobody frees another's port.
    pub(crate) fn release(&self, port: u16, slot: Slot) -> bool {
        let word = self.slot_word(port);
        word.compare_exchange(slot.word(), slot.freed().word(), AcqRel, Acquire).is_ok()
    }

    /// The slot of a port as it is now.
    pub(crate) fn slot(&self, port: u16) -> Slot {
        Slot::from_word(self.slot_word(port).load(Acquire))
    }

    /// The slot of a port with its record, both of the same moment; none where nobody is listed.
    pub(crate) fn read(&self, port: u16) -> Option<(Slot, Record)> {
        for _ in 0..TRIES {
            let slot = self.slot(port);
            if slot.state() != State::Held && !slot.is_listing() {
                return None;
            }
            let record = Record::read(self.record_words(port));
            fence(Acquire);
            if self.slot_word(port).load(Relaxed) == slot.word() {
                return Some((slot, record));
            }
        }
        None
    }

    /// Whether the session lasts; `own` is the one that this very description holds, which the
    /// kernel cannot tell it about.
    pub(crate) fn is_alive(&self, session: SessionId, own: Option<SessionId>) -> bool {
        if own.is_some_and(|own| own.index == session.index) {
            return own == Some(session);
        }
        if self.session_word(session.index).load(Acquire) != u64::from(session.epoch) {
            return false;
        }
        // An answer that the kernel does not give is taken for "yes": a port too few, not one too many.
        lock::is_locked(&self.file, file::session_lock(session.index), 1).unwrap_or(true)
    }

    /// Sees to it that there is disk space for the port's record: a mapping that writes to a page
    /// without any would end this process, where a write to the file is told so.
    fn back(&self, port: u16) -> io::Result<()> {
        let page = file::page_of_record(port);
        let mut backed = self.backed.lock();
        if !backed.contains(&page) {
            // The first word of the page is in no record.
            self.file.write_all_at(&[0; 8], page)?;
            backed.insert(page);
        }
        Ok(())
    }

    fn lock_a_session(&self, seed: u64) -> Result<SessionId, TableError> {
        let limit = SessionId::COUNT;
        for step in 0..limit {
            let index = (seed as usize % limit + step) % limit;
            let index = u16::try_from(index).unwrap_or_default();
            let byte = file::session_lock(index);
            if lock::try_lock(&self.file, byte, Kind::Exclusive)
                .map_err(|source| self.unusable(source))?
            {
                let word = self.session_word(index);
                let session = SessionId::after(index, word.load(Acquire));
                word.store(u64::from(session.epoch), Release);
                return Ok(session);
            }
        }
        Err(TableError::Full { path: self.path.clone(), limit })
    }

    fn keep_as_it_is(&self) -> Result<(), TableError> {
        match lock::wait(&self.file, file::INIT_LOCK, Kind::Shared, PATIENCE) {
            Ok(true) => Ok(()),
            Ok(false) => Err(TableError::Busy { path: self.path.clone() }),
            Err(source) => Err(self.unusable(source)),
        }
    }

    fn session_word(&self, index: u16) -> &AtomicU64 {
        &self.words[file::SESSIONS + usize::from(index)]
    }

    fn slot_word(&self, port: u16) -> &AtomicU64 {
        &self.words[file::SLOTS + usize::from(port)]
    }

    fn record_words(&self, port: u16) -> &[AtomicU64] {
        let first = file::RECORDS + usize::from(port) * record::WORDS;
        &self.words[first..first + record::WORDS]
    }

    fn unusable(&self, source: io::Error) -> TableError {
        TableError::Unusable { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests;

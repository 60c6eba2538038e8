//! The table itself: one slot and one record for each port, the sessions, the counts.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};
use std::time::Duration;

use portolan_shared_table::SharedTable;

use crate::cell::{Cell, Taken};
use crate::counts::{self, Counted, Counts, Crowd, Quota};
use crate::error::TableError;
use crate::file;
use crate::lock::{self, Kind};
use crate::rate_limit::{self, Rate, RateLimiter};
use crate::record::{self, Record, Tally};
use crate::seat::Seat;
use crate::slot::{SessionId, Slot};

/// How long another process may keep the table to itself. It needs milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long the table is taken for whole once it was seen to be, in nanoseconds. It is damaged by hand
/// or never.
const WHOLE: u64 = 2_000_000;

/// The table of this host.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    file: File,
    words: SharedTable,
    /// Of each page of records, whether there is disk space behind it, as far as this process knows.
    backed: Box<[AtomicU64]>,
    /// When it was seen to be whole, in nanoseconds.
    whole_at: AtomicU64,
}

/// A slot that is ours to publish or to withdraw.
#[derive(Debug)]
pub struct Claim {
    port: u16,
    wish: Slot,
    taken: Taken,
}

// === impl Table ===

impl Table {
    /// Opens the table of this network namespace in the folder, and makes it where there is none.
    ///
    /// The folder must be the user's alone: whoever can write there can take ports away.
    pub fn open(folder: &Path) -> Result<Self, TableError> {
        let (path, file) = file::open(folder)?;
        let unusable = |source| TableError::Unusable { path: path.clone(), source };
        let words = SharedTable::map(&file, file::WORDS).map_err(unusable)?;
        let backed = (0..file::RECORD_PAGES.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { path, file, words, backed, whole_at: AtomicU64::new(0) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a session on this description; at most once for each table. The seed spreads sessions
    /// over their places.
    pub fn open_session(&self, seed: u64) -> Result<SessionId, TableError> {
        // Nobody rebuilds the table while a session is about to begin, or while one lasts.
        self.keep_as_it_is()?;
        let session = self.check().and_then(|()| self.lock_a_session(seed));
        lock::unlock(&self.file, file::INIT_LOCK).map_err(|source| self.unusable(source))?;
        session
    }

    /// Whether the table is still the one that others open.
    pub fn check(&self) -> Result<(), TableError> {
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

    /// The same, but asks the system only where it was not asked a moment ago. `now` is in
    /// nanoseconds. To be called before the table is touched: to touch what was cut off meanwhile
    /// would end this process.
    pub fn check_lately(&self, now: u64) -> Result<(), TableError> {
        if now.wrapping_sub(self.whole_at.load(Relaxed)) < WHOLE {
            return Ok(());
        }
        self.check()?;
        self.whole_at.store(now, Relaxed);
        Ok(())
    }

    /// The description that keeps the session.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Counts one lease more of what the service holds, where the quota allows it as far as the
    /// counts tell; see [`Table::count_anyway`] for where they tell too much.
    pub fn count(&self, tally: Tally, quota: Quota) -> Result<Counted<'_>, Crowd> {
        self.counts().add(tally, quota)?;
        Ok(Counted::new(self.counts(), tally))
    }

    /// Counts one lease more for a service that was seen to be below its quota.
    pub fn count_anyway(&self, tally: Tally) -> Counted<'_> {
        self.counts().add_anyway(tally);
        Counted::new(self.counts(), tally)
    }

    /// Whether more is counted than the quota allows, by everybody whose lease could not see those
    /// that this process published before.
    pub fn is_crowded(&self, tally: Tally, quota: Quota) -> bool {
        fence(SeqCst);
        self.counts().crowd(tally, quota).is_some()
    }

    /// Counts one grant more in the rate of the service, or tells how long it is too early. `now`
    /// is in nanoseconds, by a clock that all processes share.
    pub fn acquire_service_rate(&self, tally: Tally, now: u64, rate: Rate) -> Result<(), Duration> {
        self.rate_limiter().acquire_for_service(tally, now, rate)
    }

    /// Counts one grant more in the rate of the user, or tells how long it is too early.
    pub fn acquire_user_rate(&self, now: u64, rate: Rate) -> Result<(), Duration> {
        self.rate_limiter().acquire_for_user(now, rate)
    }

    /// Takes the slot of a port for the session, or says who has it. `is_alive` is
    /// [`Table::is_alive`], or what it said a moment ago.
    ///
    /// A slot of a listener may be claimed: whether the listener is still there is known to the
    /// kernel, and shows when the port is bound.
    pub fn claim(
        &self,
        port: u16,
        session: SessionId,
        wish: Slot,
        is_alive: impl Fn(SessionId) -> bool,
    ) -> Result<Claim, Slot> {
        let taken = self.seat(port).claim(session, is_alive)?;
        Ok(Claim { port, wish, taken })
    }

    /// Sees to it that the claim can be published. To be called before that, and before the port is
    /// bound: who sees the slot free must find the port free too.
    pub fn make_room(&self, claim: &Claim) -> Result<(), TableError> {
        self.back(claim.port).map_err(|source| self.unusable(source))
    }

    /// Writes who holds the port, and makes the claim a lease, for which there is
    /// [room](Self::make_room).
    #[allow(clippy::needless_pass_by_value, reason = "a claim is published once")]
    pub fn publish(&self, claim: Claim, record: &Record, counted: Counted<'_>) -> Slot {
        let tally = counted.tally();
        let write = |words: &[AtomicU64]| record.write(words, tally);
        let slot = self.seat(claim.port).publish(&claim.taken, claim.wish, write);
        counted.keep();
        slot
    }

    /// Who held the port of a claim before and ended without giving it back; none where it was free.
    pub fn displaced(&self, claim: &Claim) -> Option<Record> {
        // The record is ours now, and still tells of the last holder.
        claim.taken.displaced.map(|_| Record::read(self.record_words(claim.port)))
    }

    /// Gives a claim up. A listener that was there before is still listed.
    #[allow(clippy::needless_pass_by_value, reason = "a claim is given up once")]
    pub fn withdraw(&self, claim: Claim) {
        self.seat(claim.port).withdraw(&claim.taken);
    }

    /// Makes a lease the listing of a listener, which lasts as long as the socket of this inode.
    pub fn leave_to_listener(&self, port: u16, slot: Slot, inode: u64) -> Result<(), TableError> {
        match self.cell(port).leave_to_listener(slot, inode) {
            true => Ok(()),
            false => Err(TableError::Damaged { path: self.path.clone() }),
        }
    }

    /// Frees the slot, if it is still the one that was granted: nobody frees another's port.
    pub fn release(&self, port: u16, slot: Slot) -> bool {
        self.seat(port).release(slot)
    }

    /// The slot of a port as it is now.
    pub fn slot(&self, port: u16) -> Slot {
        self.cell(port).load()
    }

    /// The slot of a port with its record, both of the same moment; none where nobody is listed.
    pub fn read(&self, port: u16) -> Option<(Slot, Record)> {
        self.cell(port).read(Record::read)
    }

    /// Whether the session lasts; `own` is the one that this very description holds, which the
    /// kernel cannot tell it about.
    pub fn is_alive(&self, session: SessionId, own: Option<SessionId>) -> bool {
        if own.is_some_and(|own| own.index == session.index) {
            return own == Some(session);
        }
        let epochs = self.epochs(session.index).map(|epoch| epoch.load(Acquire));
        if !epochs.contains(&u64::from(session.epoch)) {
            return false;
        }
        // An answer that the kernel does not give is taken for "yes": a port too few, not one too many.
        lock::is_locked(&self.file, file::session_lock(session.index), 1).unwrap_or(true)
    }

    /// Sees to it that there is disk space for the port's record: a mapping that writes to a page
    /// without any would end this process, where a write to the file is told so.
    fn back(&self, port: u16) -> io::Result<()> {
        let (page, index) = file::page_of_record(port);
        let (known, bit) = (&self.backed[index / 64], 1 << (index % 64));
        if known.load(Relaxed) & bit == 0 {
            // The first word of the page is in no record.
            self.file.write_all_at(&[0; 8], page)?;
            known.fetch_or(bit, Relaxed);
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
                let epochs = self.epochs(index);
                let session = SessionId::after(index, epochs.map(|epoch| epoch.load(Acquire)));
                epochs.into_iter().for_each(|word| word.store(session.epoch.into(), Release));
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

    /// How often the place has been somebody's, twice: one of them may be scribbled on.
    fn epochs(&self, index: u16) -> [&AtomicU64; 2] {
        [file::SESSIONS, file::SESSIONS_AGAIN].map(|first| &self.words[first + usize::from(index)])
    }

    fn cell(&self, port: u16) -> Cell<'_, AtomicU64> {
        let word = |first: usize| &self.words[first + usize::from(port)];
        let (slot, witness) = (word(file::SLOTS), word(file::WITNESSES));
        Cell { slot, witness, record: self.record_words(port) }
    }

    fn seat(&self, port: u16) -> Seat<'_, AtomicU64> {
        Seat { cell: self.cell(port), counts: self.counts() }
    }

    fn counts(&self) -> Counts<'_, AtomicU64> {
        Counts::new(&self.words[file::COUNTS..file::COUNTS + counts::WORDS])
    }

    fn rate_limiter(&self) -> RateLimiter<'_, AtomicU64> {
        RateLimiter::new(&self.words[file::RATES..file::RATES + rate_limit::WORDS])
    }

    fn record_words(&self, port: u16) -> &[AtomicU64] {
        let first = file::RECORDS + usize::from(port) * record::WORDS;
        &self.words[first..first + record::WORDS]
    }

    fn unusable(&self, source: io::Error) -> TableError {
        TableError::Unusable { path: self.path.clone(), source }
    }
}

// === impl Claim ===

impl Claim {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the slot was taken over from a session that had ended.
    pub fn reclaimed(&self) -> bool {
        self.taken.reclaimed
    }
}

#[cfg(test)]
mod tests;

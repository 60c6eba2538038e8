//! The reservation table: a slot and a record for each port, sessions, tickets and rate limits.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use portolan_shared_table::SharedTable;

use crate::atomic::AtomicWord;
use crate::error::TableError;
use crate::file;
use crate::lock::{self, Kind, LOCK_TIMEOUT};
use crate::lock_holder;
use crate::quota::{LeaseBound, QuotaLock};
use crate::rate_limit::{self, Rate, RateLimiter};
use crate::record::{self, Record, ServiceKey};
use crate::share::{self, SessionShare};
use crate::slot::{ClaimedSlot, SessionId, Slot, SlotProtocol};

/// How long the result of a check is cached, in nanoseconds. Only damage by hand can change it.
const CHECK_TTL: u64 = 2_000_000;

/// The reservation table of this user in this network namespace.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    file: File,
    words: SharedTable,
    /// A bit for each page of records that is known to have disk space.
    allocated: Box<[AtomicU64]>,
    /// When the table was last checked, in nanoseconds.
    checked_at: AtomicU64,
    /// The session's file, once children had shares of the session.
    shared: OnceLock<PathBuf>,
}

/// A claimed port, to be published or withdrawn.
#[derive(Debug)]
pub struct Claim {
    port: u16,
    requested: Slot,
    claimed: ClaimedSlot,
}

// === impl Table ===

impl Table {
    /// Opens the table of this network namespace in the directory, and creates it if there is none.
    ///
    /// The directory must be writable by this user only: a process that writes to it can take ports away.
    pub fn open(directory: &Path) -> Result<Self, TableError> {
        let (path, file) = file::open(directory)?;
        let unusable = |source| TableError::Unusable { path: path.clone(), source };
        let words = SharedTable::map(&file, file::WORDS).map_err(unusable)?;
        let allocated = (0..file::RECORD_PAGES.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let (checked_at, shared) = (AtomicU64::new(0), OnceLock::new());
        Ok(Self { path, file, words, allocated, checked_at, shared })
    }

    /// The path of the table's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a session on this file description; at most once for each table. The seed spreads
    /// sessions over the lock bytes.
    pub fn open_session(&self, seed: u64) -> Result<SessionId, TableError> {
        // The table is not rebuilt while a session begins or lasts.
        self.lock_layout()?;
        let session = self.check().and_then(|()| self.lock_session(seed));
        lock::unlock(&self.file, file::INIT_LOCK).map_err(|source| self.unusable(source))?;
        session
    }

    /// Checks that the file is intact and still the one that other processes open.
    pub fn check(&self) -> Result<(), TableError> {
        let path = || self.path.clone();
        let found = self.file.metadata().map_err(|source| self.unusable(source))?;
        if found.nlink() == 0 {
            return Err(TableError::Removed { path: path() });
        }
        // The length first: access beyond the end of the file would end this process with SIGBUS.
        let header = || [self.words[0].load(Acquire), self.words[1].load(Acquire)];
        match found.len() == file::LENGTH && header() == file::HEADER {
            true => Ok(()),
            false => Err(TableError::Damaged { path: path() }),
        }
    }

    /// [`Table::check`] with its result cached for 2 ms. `now` is in nanoseconds. To be called before
    /// the table is accessed: access to a truncated file would end this process with SIGBUS.
    pub fn check_cached(&self, now: u64) -> Result<(), TableError> {
        if now.wrapping_sub(self.checked_at.load(Relaxed)) < CHECK_TTL {
            return Ok(());
        }
        self.check()?;
        self.checked_at.store(now, Relaxed);
        Ok(())
    }

    /// Returns a share of the session of this description, for one child process. Whatever the child does with
    /// it changes neither the table nor another share.
    pub fn share_session(&self, session: SessionId) -> Result<SessionShare, TableError> {
        let path = self.shared.get_or_init(|| share::path(&self.path, session.index));
        share::take(path).map_err(|source| TableError::Unusable { path: path.clone(), source })
    }

    /// Takes a ticket for a claim that is about to be published; see [`LeaseBound`].
    pub fn take_ticket(&self, _claim: &Claim) -> u64 {
        self.words[file::LAST_TICKET].add(1)
    }

    /// Scans the slots for an upper bound on the number of leases.
    pub fn scan_leases(&self) -> LeaseBound {
        let last_ticket = &self.words[file::LAST_TICKET];
        LeaseBound::scan(last_ticket, (1..=u16::MAX).map(|port| self.slot_protocol(port)))
    }

    /// Locks the exact count of leases if no other session has locked it.
    pub fn try_lock_quota(&self) -> Result<Option<QuotaLock>, TableError> {
        let file = self.reopen()?;
        let locked = lock::try_lock(&file, file::QUOTA_LOCK, Kind::Exclusive);
        let locked = locked.map_err(|source| self.unusable(source))?;
        Ok(locked.then_some(QuotaLock { _file: file }))
    }

    /// Waits until no other session has locked the exact count of leases, and locks it. The caller
    /// must hold no claim.
    pub fn lock_quota(&self) -> Result<QuotaLock, TableError> {
        let file = self.reopen()?;
        match lock::wait(&file, file::QUOTA_LOCK, Kind::Exclusive, LOCK_TIMEOUT) {
            Ok(true) => Ok(QuotaLock { _file: file }),
            Ok(false) => Err(self.busy(file::QUOTA_LOCK)),
            Err(source) => Err(self.unusable(source)),
        }
    }

    /// Another description of the table's file, which has no lock yet.
    fn reopen(&self) -> Result<File, TableError> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let file = OpenOptions::new().read(true).write(true).open(path);
        file.map_err(|source| self.unusable(source))
    }

    /// Counts one grant against the rate limit of the service, or returns how long to wait. `now` is in
    /// nanoseconds, by a clock that all processes share.
    pub fn acquire_service_rate(
        &self,
        key: ServiceKey,
        now: u64,
        rate: Rate,
    ) -> Result<(), Duration> {
        self.rate_limiter().acquire_for_service(key, now, rate)
    }

    /// Counts one grant against the rate limit of the user, or returns how long to wait.
    pub fn acquire_user_rate(&self, now: u64, rate: Rate) -> Result<(), Duration> {
        self.rate_limiter().acquire_for_user(now, rate)
    }

    /// Claims a port for the session, or returns the slot of the session that holds it. `is_alive` is
    /// [`Table::is_alive`] or a cached result of it.
    ///
    /// The slot of a listener can be claimed: whether its socket still exists shows when the port is
    /// bound.
    pub fn claim(
        &self,
        port: u16,
        session: SessionId,
        requested: Slot,
        is_alive: impl Fn(SessionId) -> bool,
    ) -> Result<Claim, Slot> {
        let claimed = self.slot_protocol(port).claim(session, is_alive)?;
        Ok(Claim { port, requested, claimed })
    }

    /// Allocates disk space for the record of the claim. To be called before the port is bound: the
    /// socket must be closed before the slot is free.
    pub fn allocate_record(&self, claim: &Claim) -> Result<(), TableError> {
        self.allocate_page(claim.port).map_err(|source| self.unusable(source))
    }

    /// Writes the record and turns the claim into a lease. Needs an [allocated
    /// record](Self::allocate_record).
    #[allow(clippy::needless_pass_by_value, reason = "a claim is published once")]
    pub fn publish(&self, claim: Claim, record: &Record, key: ServiceKey) -> Slot {
        let write = |words: &[AtomicU64]| record.write(words, key);
        self.slot_protocol(claim.port).publish(&claim.claimed, claim.requested, write)
    }

    /// The record of the orphaned lease or listener that the claim replaces; none if the port was
    /// free.
    pub fn displaced(&self, claim: &Claim) -> Option<Record> {
        // The claim owns the record, which is not overwritten before it is published.
        claim.claimed.has_record.then(|| Record::read(self.record_words(claim.port)))
    }

    /// Withdraws a claim. A listener that was there before stays listed.
    #[allow(clippy::needless_pass_by_value, reason = "a claim is withdrawn once")]
    pub fn withdraw(&self, claim: Claim) {
        self.slot_protocol(claim.port).withdraw(&claim.claimed);
    }

    /// Turns a lease into the entry of a listener, which lasts as long as the socket of this inode.
    pub fn leave_to_listener(&self, port: u16, slot: Slot, inode: u64) -> Result<(), TableError> {
        match self.slot_protocol(port).leave_to_listener(slot, inode) {
            true => Ok(()),
            false => Err(TableError::Damaged { path: self.path.clone() }),
        }
    }

    /// Frees the slot if it still holds this lease; returns whether it did.
    pub fn release(&self, port: u16, slot: Slot) -> bool {
        self.slot_protocol(port).release(slot)
    }

    /// The slot of a port.
    pub fn slot(&self, port: u16) -> Slot {
        self.slot_protocol(port).load()
    }

    /// A consistent pair of the slot of a port and its record; none if the port has neither a lease nor
    /// a listener.
    pub fn read(&self, port: u16) -> Option<(Slot, Record)> {
        self.slot_protocol(port).read(Record::read)
    }

    /// Whether the session is alive; `own` is the session of this description, about which the kernel
    /// cannot be asked through it.
    pub fn is_alive(&self, session: SessionId, own: Option<SessionId>) -> bool {
        if own.is_some_and(|own| own.index == session.index) {
            return own == Some(session);
        }
        if self.epoch(session.index).load(Acquire) != u64::from(session.epoch) {
            return false;
        }
        // If the kernel does not answer, the session counts as alive: that loses a port and grants
        // none twice.
        lock::is_locked(&self.file, file::session_lock(session.index), 1).unwrap_or(true)
            || share::is_taken(&share::path(&self.path, session.index)).unwrap_or(true)
    }

    /// Allocates disk space for the page of a port's record: a write to a mapped page without any would
    /// end this process with SIGBUS, a write to the file returns an error.
    fn allocate_page(&self, port: u16) -> io::Result<()> {
        let (page, index) = file::page_of_record(port);
        let (known, bit) = (&self.allocated[index / 64], 1 << (index % 64));
        if known.load(Relaxed) & bit == 0 {
            // The first word of a page belongs to no record.
            self.file.write_all_at(&[0; 8], page)?;
            known.fetch_or(bit, Relaxed);
        }
        Ok(())
    }

    fn lock_session(&self, seed: u64) -> Result<SessionId, TableError> {
        let limit = SessionId::COUNT;
        for step in 0..limit {
            let index = (seed as usize % limit + step) % limit;
            let index = u16::try_from(index).unwrap_or_default();
            let byte = file::session_lock(index);
            if !lock::try_lock(&self.file, byte, Kind::Exclusive)
                .map_err(|source| self.unusable(source))?
            {
                continue;
            }
            // Children of an earlier session may have outlived its owner.
            let is_free = share::remove_unless_taken(&share::path(&self.path, index))
                .map_err(|source| self.unusable(source))?;
            if is_free {
                let epoch = self.epoch(index);
                let session = SessionId::next(index, epoch.load(Acquire));
                epoch.store(session.epoch.into(), Release);
                return Ok(session);
            }
            lock::unlock(&self.file, byte).map_err(|source| self.unusable(source))?;
        }
        Err(TableError::Full { path: self.path.clone(), limit })
    }

    fn lock_layout(&self) -> Result<(), TableError> {
        match lock::wait(&self.file, file::INIT_LOCK, Kind::Shared, LOCK_TIMEOUT) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.busy(file::INIT_LOCK)),
            Err(source) => Err(self.unusable(source)),
        }
    }

    /// How many sessions had this lock byte.
    fn epoch(&self, index: u16) -> &AtomicU64 {
        &self.words[file::SESSIONS + usize::from(index)]
    }

    fn slot_protocol(&self, port: u16) -> SlotProtocol<'_, AtomicU64> {
        let slot = &self.words[file::SLOTS + usize::from(port)];
        SlotProtocol { slot, record: self.record_words(port) }
    }

    fn rate_limiter(&self) -> RateLimiter<'_, AtomicU64> {
        RateLimiter::new(&self.words[file::RATES..file::RATES + rate_limit::WORDS])
    }

    fn record_words(&self, port: u16) -> &[AtomicU64] {
        let first = file::RECORDS + usize::from(port) * record::WORDS;
        &self.words[first..first + record::WORDS]
    }

    fn busy(&self, byte: u64) -> TableError {
        TableError::Busy { path: self.path.clone(), holder: lock_holder::find(&self.file, byte) }
    }

    fn unusable(&self, source: io::Error) -> TableError {
        TableError::Unusable { path: self.path.clone(), source }
    }
}

impl Drop for Table {
    /// Removes the session's file unless children are left. The byte of the session is still locked, so no later
    /// session has the same file, except after the table was removed.
    fn drop(&mut self) {
        if let Some(session) = self.shared.get().filter(|_| self.check().is_ok()) {
            // What is left is removed by the next session with this index.
            _ = share::remove_unless_taken(session);
        }
    }
}

// === impl Claim ===

impl Claim {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the slot was reclaimed from a session that had ended.
    pub fn reclaimed(&self) -> bool {
        self.claimed.reclaimed
    }
}

#[cfg(test)]
mod tests;

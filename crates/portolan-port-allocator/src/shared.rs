//! The state that an allocator and its clones share.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_core::Remedy;
use portolan_host_facts::ProcessStat;
use portolan_reservations::{Record, Table};
use tracing::warn;

use crate::config::PortAllocatorConfig;
use crate::error::AllocatorError;
use crate::grant::limiter::Limiter;
use crate::grant::policy::Policy;
use crate::inspect::lease_snapshot::LeaseSnapshot;
use crate::lease::session::Session;
use crate::lease::sticky::{Key, Sticky};
use crate::request::PortRequest;

/// The state of an allocator, its clones and its leases.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) policy: Policy,
    pub(crate) limiter: Limiter,
    pub(crate) table: Table,
    pub(crate) session: Mutex<Session>,
    /// `None` if sticky ports are disabled or have no directory.
    sticky: Option<Sticky>,
    process: ThisProcess,
}

/// Facts about this process that do not change.
#[derive(Debug)]
struct ThisProcess {
    pid: u32,
    uid: u32,
    /// When it started, in clock ticks since boot.
    start_time: u64,
    /// The working directory when the allocator was created.
    folder: Option<Arc<str>>,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn open(config: &PortAllocatorConfig) -> Result<Self, AllocatorError> {
        let runtime = config.runtime_directory()?;
        Ok(Self {
            policy: Policy::new(config)?,
            limiter: Limiter { quota: config.quota, rate: config.rate_limit },
            table: Table::open(&runtime)?,
            session: Mutex::default(),
            sticky: if config.sticky { open_sticky(config)? } else { None },
            process: ThisProcess::read(),
        })
    }

    pub(crate) fn snapshot(&self) -> LeaseSnapshot<'_> {
        LeaseSnapshot::new(&self.table, self.session.lock().id())
    }

    /// Whether the reservation table is usable; logs a warning if not.
    pub(crate) fn has_table(&self) -> bool {
        let whole = self.table.check_cached(nanoseconds(Timestamp::now()));
        whole.inspect_err(|error| warn!(%error, "Reservation table unusable")).is_ok()
    }

    /// Returns the key of the service's sticky port; `None` if it has none.
    pub(crate) fn sticky_key(&self, request: &PortRequest) -> Option<Key> {
        self.sticky.as_ref()?;
        let named = request.folder.as_ref().map(|folder| folder.to_string_lossy().into());
        Some(Key {
            scope: request.scope.clone(),
            service: request.service.clone(),
            port_name: request.port_name.clone(),
            folder: named.or_else(|| self.process.folder.clone())?,
        })
    }

    /// Returns the sticky port.
    pub(crate) fn last_port(&self, key: Option<&Key>, request: &PortRequest) -> Option<u16> {
        self.sticky.as_ref()?.port(key?, request.preferred.first().copied())
    }

    /// Stores the sticky port.
    pub(crate) fn remember(&self, key: Option<Key>, request: &PortRequest, port: u16) {
        if let (Some(sticky), Some(key)) = (&self.sticky, key) {
            sticky.remember(key, request.preferred.first().copied(), port);
        }
    }

    /// Returns the record of a lease for the request.
    pub(crate) fn record(&self, request: &PortRequest, since: Timestamp) -> Record {
        Record {
            service: request.service.clone(),
            scope: request.scope.clone(),
            port_name: request.port_name.clone(),
            since,
            pid: self.process.pid,
            uid: self.process.uid,
            start_time: self.process.start_time,
            inode: 0,
        }
    }
}

// === impl ThisProcess ===

impl ThisProcess {
    fn read() -> Self {
        let pid = std::process::id();
        let folder = std::env::current_dir().ok();
        Self {
            pid,
            uid: rustix::process::geteuid().as_raw(),
            start_time: ProcessStat::read(pid).map_or(0, |stat| stat.start_time),
            folder: folder.map(|folder| folder.to_string_lossy().into()),
        }
    }
}

fn open_sticky(config: &PortAllocatorConfig) -> Result<Option<Sticky>, AllocatorError> {
    match config.state_directory() {
        Ok(directory) => Ok(directory.map(|directory| Sticky::in_directory(&directory))),
        // A directory that was configured must work; a default one is dispensable.
        Err(error) if config.state_dir.is_some() => Err(error.into()),
        Err(error) => {
            warn!(error = error.with_remedy(), "Sticky ports disabled");
            Ok(None)
        }
    }
}

/// Converts to nanoseconds of the system's clock, which all processes share.
pub(crate) fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or_default()
}

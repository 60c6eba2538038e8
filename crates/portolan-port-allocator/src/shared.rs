//! This host's ports, as one allocator and its clones reach them.

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

/// What all clones of an allocator share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) policy: Policy,
    pub(crate) limiter: Limiter,
    pub(crate) table: Table,
    pub(crate) session: Mutex<Session>,
    /// None where stickiness is off, or has no place.
    sticky: Option<Sticky>,
    process: ThisProcess,
}

/// What is told of this process, which does not change.
#[derive(Debug)]
struct ThisProcess {
    pid: u32,
    uid: u32,
    /// When it began, in the system's ticks.
    start_time: u64,
    /// Where it worked when the allocator was made.
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
            process: ThisProcess::look(),
        })
    }

    pub(crate) fn snapshot(&self) -> LeaseSnapshot<'_> {
        LeaseSnapshot::new(&self.table, self.session.lock().id())
    }

    /// Whether the table can be touched; says so where it cannot.
    pub(crate) fn has_table(&self) -> bool {
        let whole = self.table.check_cached(nanoseconds(Timestamp::now()));
        whole.inspect_err(|error| warn!(%error, "The table of reservations is lost")).is_ok()
    }

    /// The key under which the service's port is kept for its next run; none where it is not.
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

    /// The port that the service had last time.
    pub(crate) fn last_port(&self, key: Option<&Key>, request: &PortRequest) -> Option<u16> {
        self.sticky.as_ref()?.port(key?, request.preferred)
    }

    /// Keeps the port for the next run.
    pub(crate) fn remember(&self, key: Option<Key>, request: &PortRequest, port: u16) {
        if let (Some(sticky), Some(key)) = (&self.sticky, key) {
            sticky.remember(key, request.preferred, port);
        }
    }

    /// What the table is to say of a lease for the request.
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
    fn look() -> Self {
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

/// By the system's clock, which all processes share.
pub(crate) fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or_default()
}

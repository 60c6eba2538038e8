//! This host's ports, as one allocator and its clones reach them: takes one, or says who has it.
//!
//! For each port the order is: claim its slot in the table, so that no other Portolan process tries
//! the same one; bind it, so that no stranger has it; publish the lease. Neither of the first two
//! suffices alone.

use std::path::Path;

use jiff::Timestamp;
use parking_lot::Mutex;
use tracing::warn;

use crate::binder::{self, BindError, Sockets};
use crate::config::PortAllocatorConfig;
use crate::error::AllocatorError;
use crate::patience::Patience;
use crate::policy::Policy;
use crate::report::{PortReport, PortState};
use crate::request::PortRequest;
use crate::session::Session;
use crate::sticky::{Key, Sticky};
use crate::table::{Claim, Record, SessionId, Slot, Table};
use crate::view::{Cause, View};
use crate::{directories, processes, sockets};

/// What all clones of an allocator share.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) policy: Policy,
    pub(crate) table: Table,
    pub(crate) session: Mutex<Session>,
    /// None where stickiness is off, or has no place.
    sticky: Option<Sticky>,
    /// When this process began, in the system's ticks.
    start_time: u64,
}

/// A port that is ours.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) port: u16,
    pub(crate) slot: Slot,
    pub(crate) sockets: Sockets,
    pub(crate) record: Record,
}

// === impl Host ===

impl Host {
    pub(crate) fn open(config: &PortAllocatorConfig) -> Result<Self, AllocatorError> {
        let runtime = directories::runtime(config.runtime_dir.as_deref())?;
        Ok(Self {
            policy: Policy::new(config)?,
            table: Table::open(&runtime)?,
            session: Mutex::default(),
            sticky: if config.sticky { sticky_in(config.state_dir.as_deref())? } else { None },
            start_time: processes::start_time(std::process::id()).unwrap_or_default(),
        })
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::new(&self.table, self.session.lock().id())
    }

    /// Takes one port for the session; or says why not, where the next one may do.
    pub(crate) fn take(
        &self,
        port: u16,
        session: SessionId,
        request: &PortRequest,
        patience: &mut Patience,
    ) -> Result<Result<Granted, Cause>, AllocatorError> {
        if self.policy.is_reserved(port) {
            return Ok(Err(Cause::Reserved));
        }
        let wish = Slot::wish(request.depth, request.udp);
        let Ok(claim) = self.table.claim(port, session, wish) else {
            return Ok(Err(Cause::Leased));
        };
        let sockets = match bind_claimed(&claim, request, patience) {
            Ok(sockets) => sockets,
            Err(error) => {
                self.table.withdraw(&claim);
                return cause_of(error, port).map(Err);
            }
        };
        let record = self.record(request);
        let slot = self.table.publish(&claim, &record)?;
        Ok(Ok(Granted { port, slot, sockets, record }))
    }

    /// The port that the service had last time, and the key under which to keep this time's.
    pub(crate) fn last_port(&self, request: &PortRequest) -> (Option<u16>, Option<Key>) {
        let Some(sticky) = &self.sticky else { return (None, None) };
        let key = sticky_key(request);
        let last = key.as_ref().and_then(|key| sticky.port(key, request.preferred));
        (last, key)
    }

    /// Keeps the port for the next run.
    pub(crate) fn remember(&self, key: Option<Key>, request: &PortRequest, port: u16) {
        if let (Some(sticky), Some(key)) = (&self.sticky, key) {
            sticky.remember(key, request.preferred, port);
        }
    }

    /// Everything known of one port.
    pub(crate) fn report(&self, port: u16) -> PortReport {
        let holder = self.view().holder(port);
        let occupant = sockets::strangers(&[port]).remove(&port);
        let state = match holder {
            // A leased port is not tried: its owner may be about to bind it.
            Some(_) => PortState::Leased,
            None => self.state_without_lease(port),
        };
        // Connections that wait for their end are no reason to refuse a port, and nobody's.
        let has_one = matches!(state, PortState::Leased | PortState::Taken);
        let pools = self.policy.pools_with(port).into_iter().map(str::to_owned).collect();
        PortReport { port, state, holder, occupant: occupant.filter(|_| has_one), pools }
    }

    fn state_without_lease(&self, port: u16) -> PortState {
        match binder::probe(port) {
            _ if port == 0 => PortState::Outside,
            Err(BindError::NotPermitted) => PortState::NotPermitted,
            Err(_) => PortState::Taken,
            Ok(()) if self.policy.is_reserved(port) => PortState::Reserved,
            Ok(()) if self.policy.allows(port) => PortState::Free,
            Ok(()) => PortState::Outside,
        }
    }

    fn record(&self, request: &PortRequest) -> Record {
        Record {
            service: request.service.clone(),
            scope: request.scope.clone(),
            port_name: request.port_name.clone(),
            since: Timestamp::now(),
            pid: std::process::id(),
            uid: rustix::process::geteuid().as_raw(),
            start_time: self.start_time,
            inode: 0,
        }
    }
}

fn bind_claimed(
    claim: &Claim,
    request: &PortRequest,
    patience: &mut Patience,
) -> Result<Sockets, BindError> {
    loop {
        match binder::bind(claim.port, request) {
            Err(BindError::InUse) if patience.pauses_for(claim.port, claim.reclaimed) => {}
            bound_or_failed => return bound_or_failed,
        }
    }
}

fn cause_of(error: BindError, port: u16) -> Result<Cause, AllocatorError> {
    match error {
        BindError::InUse => Ok(Cause::InUse),
        BindError::NotPermitted => Ok(Cause::NotPermitted),
        BindError::AddressNotHere(address) => Err(AllocatorError::AddressNotHere { address }),
        BindError::System(source) => Err(AllocatorError::Socket { port, source }),
    }
}

fn sticky_in(configured: Option<&Path>) -> Result<Option<Sticky>, AllocatorError> {
    match directories::state(configured) {
        Ok(folder) => Ok(folder.map(|folder| Sticky::in_folder(&folder))),
        // Somebody named this folder and should know; without it a port is found all the same.
        Err(error) if configured.is_some() => Err(error.into()),
        Err(error) => {
            warn!(%error, "Ports will not be remembered");
            Ok(None)
        }
    }
}

fn sticky_key(request: &PortRequest) -> Option<Key> {
    let folder = request.folder.clone().or_else(|| std::env::current_dir().ok())?;
    Some(Key {
        scope: request.scope.clone(),
        service: request.service.clone(),
        port_name: request.port_name.clone(),
        folder: folder.to_string_lossy().into_owned(),
    })
}

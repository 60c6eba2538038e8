//! Leases on ports.

pub(crate) mod holder;
pub(crate) mod session;
pub(crate) mod sticky;

use std::fmt;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::{Arc, Weak};

use portolan_core::{PortName, Scope, ServiceName};
use portolan_host_facts::{SocketOwner, listening_socket_owner};
use portolan_metrics::Metrics;
use portolan_reservations::{Depth, Record, SessionShare, Slot};
use tracing::warn;

use crate::audit;
use crate::bind_address::BindAddress;
use crate::error::AllocatorError;
use crate::grant::binder::Sockets;
use crate::shared::Shared;

/// A lease on a port. Dropping the last handle releases the port.
///
/// The kernel ends the lease if the process is killed, unless a child process inherited a
/// [share](Self::share_session) of its session.
pub struct PortLease {
    // Dropped in this order: once the slot is free, the port must be free too.
    sockets: Option<Arc<Sockets>>,
    held: Arc<Held>,
}

/// The state that all handles on a lease share.
pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
    pub(crate) port: u16,
    pub(crate) slot: Slot,
    pub(crate) record: Record,
    pub(crate) address: BindAddress,
    pub(crate) sockets: Weak<Sockets>,
    /// Set once a listener or a child keeps the slot, which is not released then.
    pub(crate) left: AtomicBool,
    /// Set once the sockets were closed on request, so that a handle without them is valid.
    pub(crate) sockets_let_go: AtomicBool,
    /// The metrics that count the release, and the pool label.
    pub(crate) metrics: Option<(Metrics, String)>,
}

// === impl PortLease ===

impl PortLease {
    pub(crate) fn new(sockets: Arc<Sockets>, held: Held) -> Self {
        Self { sockets: Some(sockets), held: Arc::new(held) }
    }

    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// Returns another handle on the lease; `None` while its last handle is being dropped.
    pub(crate) fn again(held: Arc<Held>) -> Option<Self> {
        let sockets = held.sockets.upgrade();
        let has_all = sockets.is_some() || held.sockets_let_go.load(Acquire);
        has_all.then_some(Self { sockets, held })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.held.port
    }

    /// The service that holds it.
    pub fn service(&self) -> &ServiceName {
        &self.held.record.service
    }

    /// The scope of the service's name.
    pub fn scope(&self) -> &Scope {
        &self.held.record.scope
    }

    /// The name of this port of the service; `None` for its main port.
    pub fn port_name(&self) -> Option<&PortName> {
        self.held.record.port_name.as_ref()
    }

    /// The hold level.
    pub fn depth(&self) -> Depth {
        self.held.slot.depth()
    }

    /// Listens on the port. A [bound](Depth::Bound) lease uses the socket that reserved the port; with
    /// the other hold levels this fails if a foreign process already listens.
    ///
    /// The listener is in blocking mode; for tokio, call `set_nonblocking`. It replaces the lease: the
    /// port stays reserved as long as the socket listens, and protected from foreign processes on the
    /// address that it listens on.
    pub fn into_listener(self) -> Result<TcpListener, AllocatorError> {
        let port = self.port();
        let sockets = self.sockets.clone().unwrap_or_default();
        let listener = sockets.listen(port, self.held.address);
        let listener = listener.map_err(|source| AllocatorError::Listen { port, source })?;
        self.held.leave_to_listener(&listener);
        Ok(listener)
    }

    /// Returns the UDP socket of a [bound](Depth::Bound) lease that was requested with UDP.
    pub fn udp_socket(&self) -> Result<Option<UdpSocket>, AllocatorError> {
        let port = self.port();
        let socket = self.sockets.as_ref().map(|sockets| sockets.udp_socket()).transpose();
        Ok(socket.map_err(|source| AllocatorError::Socket { port, source })?.flatten())
    }

    /// Returns the sockets of a [bound](Depth::Bound) lease for file descriptor passing
    /// (sd_listen_fds(3)): the TCP socket, which listens from now on, then the UDP socket if it was
    /// requested. Empty for the other hold levels.
    ///
    /// The sockets are in blocking mode and close on exec.
    pub fn listening_sockets(&self) -> Result<Vec<BorrowedFd<'_>>, AllocatorError> {
        let port = self.port();
        let Some(sockets) = self.sockets.as_ref().filter(|_| self.depth() == Depth::Bound) else {
            return Ok(Vec::new());
        };
        let listening = sockets.listen(port, self.held.address);
        listening.map_err(|source| AllocatorError::Listen { port, source })?;
        Ok(sockets.serving().collect())
    }

    /// Closes the sockets of a [bound](Depth::Bound) lease in this process once a child has them, so
    /// that the kernel refuses connections as soon as the child ends. The port stays reserved. Does
    /// nothing for the other hold levels.
    pub fn leave_sockets_to_child(&mut self) {
        self.let_go(Depth::Bound);
    }

    /// Returns which process listens on the TCP port, to verify a [claimed](Depth::Claimed) port once
    /// its program was started. `None` if none does yet.
    pub fn listener(&self) -> Option<SocketOwner> {
        listening_socket_owner(self.port())
    }

    /// Releases the port, like dropping.
    pub fn release(self) {
        drop(self);
    }

    /// Closes the guard of a [guarded](Depth::Guarded) lease, for a program that cannot bind beside
    /// it. The port stays reserved. If several handles on the lease exist, the last of them closes
    /// the guard. Does nothing for the other hold levels.
    pub fn let_go_of_guard(&mut self) {
        self.let_go(Depth::Guarded);
    }

    fn let_go(&mut self, depth: Depth) {
        if self.depth() == depth {
            self.held.sockets_let_go.store(true, Release);
            self.sockets = None;
        }
    }

    /// Returns a share of the session for one child process, which keeps every lease of the session until it
    /// ends. The child can give up its own share; it can change neither the reservations nor other shares, also
    /// if it has other privileges than this process. Closes on exec; clear that flag for the child.
    pub fn share_session(&self) -> Result<SessionShare, AllocatorError> {
        Ok(self.held.shared.table.share_session(self.held.slot.session())?)
    }

    /// Returns the file descriptors of the sockets, which keep foreign processes off the port as long as the
    /// child that inherits them lives. All close on exec; clear that flag for the child.
    pub fn socket_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.sockets.iter().flat_map(|sockets| sockets.descriptors()).collect()
    }

    /// Leaves the lease to the children that inherited a share of its session. It ends with the last of them
    /// and this process's allocator. For a program that ends before its children do.
    pub fn leave_to_children(self) {
        if !self.held.left.swap(true, AcqRel) {
            self.held.count_release("left to child processes");
        }
    }
}

impl fmt::Debug for PortLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("PortLease");
        out.field("port", &self.port()).field("service", self.service());
        out.field("scope", self.scope()).field("depth", &self.depth()).finish_non_exhaustive()
    }
}

// === impl Held ===

impl Held {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether no listener or child keeps the lease.
    pub(crate) fn is_ours(&self) -> bool {
        !self.left.load(Acquire)
    }

    /// Hands the slot over to the listener, whose socket keeps the port from now on.
    fn leave_to_listener(&self, listener: &TcpListener) {
        if self.left.swap(true, AcqRel) {
            return;
        }
        self.count_release("left to its listener");
        let inode = rustix::fs::fstat(listener).map(|stat| stat.st_ino).unwrap_or_default();
        if !self.shared.has_table() {
            return;
        }
        if let Err(error) = self.shared.table.leave_to_listener(self.port, self.slot, inode) {
            // The socket keeps the port in any case; only the listing lacks its name.
            warn!(port = self.port, service_name = %self.record.service, %error, "Listener cannot be listed");
        }
    }

    fn count_release(&self, how: &str) {
        audit::released(self.port, &self.record, how);
        if let Some((metrics, pool)) = &self.metrics {
            metrics.port_released(pool);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        let service = &self.record.service;
        match self.shared.has_table() && self.shared.table.release(self.port, self.slot) {
            true => self.count_release("given back"),
            false => warn!(
                service_name = %service,
                port = self.port,
                "Reservation was gone before it was released",
            ),
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("port", &self.port)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

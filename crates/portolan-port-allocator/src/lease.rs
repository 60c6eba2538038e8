//! A port that is a service's own, for as long as the lease lasts.

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
use portolan_reservations::{Depth, Record, Slot};
use tracing::warn;

use crate::audit;
use crate::bind_address::BindAddress;
use crate::error::AllocatorError;
use crate::grant::binder::Sockets;
use crate::shared::Shared;

/// A port that nobody else can take. Dropping it gives the port back.
///
/// The kernel holds it on behalf of the process: where that is killed, the port is free, unless a
/// child inherited [the descriptors](Self::inherited_fds), which then keeps it.
pub struct PortLease {
    // In this order: whoever sees the slot free must find the port free too.
    sockets: Option<Arc<Sockets>>,
    held: Arc<Held>,
}

/// The slot of a lease, which all handles on it share.
pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
    pub(crate) port: u16,
    pub(crate) slot: Slot,
    pub(crate) record: Record,
    pub(crate) address: BindAddress,
    pub(crate) sockets: Weak<Sockets>,
    /// The slot is not ours to free any more: a listener or a child has it.
    pub(crate) left: AtomicBool,
    /// Somebody wants it without its sockets, and so a handle without them is no broken one.
    pub(crate) sockets_let_go: AtomicBool,
    /// Where to count the end of the lease, and as what.
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

    /// Another handle on a lease; none where its last handle is just being dropped.
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

    /// The world that the service's name belongs to.
    pub fn scope(&self) -> &Scope {
        &self.held.record.scope
    }

    /// Which of the service's ports it is; none for its only or first one.
    pub fn port_name(&self) -> Option<&PortName> {
        self.held.record.port_name.as_ref()
    }

    /// How deep it is held.
    pub fn depth(&self) -> Depth {
        self.held.slot.depth()
    }

    /// Listens on the port, with the very socket that reserved it where the lease is
    /// [bound](Depth::Bound); for the other depths a foreign process may have been faster, which is an error.
    ///
    /// The socket blocks: what wants it otherwise (tokio does) calls `set_nonblocking`. The port
    /// stays reserved for the service as long as the socket listens, without a lease to look after:
    /// from foreign processes only on the address that it listens on.
    pub fn into_listener(self) -> Result<TcpListener, AllocatorError> {
        let port = self.port();
        let sockets = self.sockets.clone().unwrap_or_default();
        let listener = sockets.listen(port, self.held.address);
        let listener = listener.map_err(|source| AllocatorError::Listen { port, source })?;
        self.held.leave_to_listener(&listener);
        Ok(listener)
    }

    /// The socket that receives on the port, where UDP was asked for and the lease is
    /// [bound](Depth::Bound).
    pub fn udp_socket(&self) -> Result<Option<UdpSocket>, AllocatorError> {
        let port = self.port();
        let socket = self.sockets.as_ref().map(|sockets| sockets.udp_socket()).transpose();
        Ok(socket.map_err(|source| AllocatorError::Socket { port, source })?.flatten())
    }

    /// The sockets of a [bound](Depth::Bound) lease, for a child that inherits its listeners
    /// (sd_listen_fds(3)): that of TCP, which listens from now on, then that of UDP where it was
    /// asked for. None for the other depths.
    ///
    /// They are closed on exec unless whoever starts the child sees to it; they block.
    pub fn listening_sockets(&self) -> Result<Vec<BorrowedFd<'_>>, AllocatorError> {
        let port = self.port();
        let Some(sockets) = self.sockets.as_ref().filter(|_| self.depth() == Depth::Bound) else {
            return Ok(Vec::new());
        };
        let listening = sockets.listen(port, self.held.address);
        listening.map_err(|source| AllocatorError::Listen { port, source })?;
        Ok(sockets.serving().collect())
    }

    /// Closes the sockets of a [bound](Depth::Bound) lease in this process, once a child has them:
    /// then the kernel refuses connections as soon as that child is gone. The port stays reserved.
    /// For the other depths this does nothing.
    pub fn leave_sockets_to_child(&mut self) {
        self.let_go(Depth::Bound);
    }

    /// Who listens on the port in TCP now, whoever it is: to verify a [claimed](Depth::Claimed) port once
    /// what it is for was started. None where nobody does yet.
    pub fn listener(&self) -> Option<SocketOwner> {
        listening_socket_owner(self.port())
    }

    /// Gives the port back, as dropping does.
    pub fn release(self) {
        drop(self);
    }

    /// Closes the guard of a [guarded](Depth::Guarded) lease, for a program that would not start
    /// beside it; the port stays reserved. Where the service was granted the same lease twice, the
    /// guard is closed when both let it go. For the other depths this does nothing.
    pub fn let_go_of_guard(&mut self) {
        self.let_go(Depth::Guarded);
    }

    fn let_go(&mut self, depth: Depth) {
        if self.depth() == depth {
            self.held.sockets_let_go.store(true, Release);
            self.sockets = None;
        }
    }

    /// The descriptors that keep the lease: the session's and those of its sockets. A child that
    /// inherits them keeps it too, until it ends. All are closed on exec; whoever starts the child
    /// clears that flag.
    ///
    /// The session's descriptor keeps every lease of the session.
    pub fn inherited_fds(&self) -> Vec<BorrowedFd<'_>> {
        let sockets = self.sockets.iter().flat_map(|sockets| sockets.descriptors());
        std::iter::once(self.held.shared.table.descriptor()).chain(sockets).collect()
    }

    /// Leaves the lease to the children that inherited its descriptors: it lasts until the last of
    /// them is gone, and this process's allocator with them. For a program that ends while what it
    /// started lives on.
    pub fn leave_to_children(self) {
        if !self.held.left.swap(true, AcqRel) {
            self.held.count_release("left to who inherited it");
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

    /// Whether the lease has not been left to a listener or a child.
    pub(crate) fn is_ours(&self) -> bool {
        !self.left.load(Acquire)
    }

    /// From now on the socket itself says whether the port is held.
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
            // The socket holds the port in any case; only its name is not listed.
            warn!(port = self.port, service_name = %self.record.service, %error, "Listener is not listed");
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

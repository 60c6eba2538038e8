//! Binds ports, which protects them from foreign processes and from the kernel's own choice.
//!
//! A *guard* is a dual-stack socket on `[::]` with `SO_REUSEADDR` that never listens. The kernel
//! does not choose its port for binds to port 0, and refuses every bind without `SO_REUSEADDR` on
//! any address; a server that sets the option can bind and listen beside the guard. Without IPv6 the
//! guard is on `0.0.0.0`.
//!
//! Every socket is first bound without the option, which fails if any other socket is bound to the
//! port on any address, listening or not. A guard gets the option afterwards. A socket that will
//! listen gets it when it listens, because before that another socket with the option could listen.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use portolan_host_facts::{ListenerProbe, sysctl};
use portolan_reservations::Depth;
use socket2::{Domain, Socket, Type};

mod error;

pub(crate) use error::BindError;

use crate::bind_address::BindAddress;
use crate::request::PortRequest;

/// The backlog of listen(2). The kernel reduces it to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// A loopback address that no program connects to, so that no connection is in TIME-WAIT on it.
const LOOKOUT: Ipv4Addr = Ipv4Addr::new(127, 80, 111, 114);

/// The sockets of a lease.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Protects the port until a program binds it, or on the addresses that the listener does not have.
    pub(crate) guard: Option<Socket>,
    /// The TCP socket that will listen.
    pub(crate) listener: Option<Socket>,
    /// The UDP socket, which receives already.
    pub(crate) udp: Option<Socket>,
}

/// Binds ports one after the other. Reuses an unbound socket after a failure, because creating and
/// closing it is most of the cost.
#[derive(Debug, Default)]
pub(crate) struct Binder {
    unbound: Option<Socket>,
    /// An unbound socket for [`LOOKOUT`], reused like the other one.
    lookout: Option<Socket>,
    listeners: ListenerProbe,
    /// Whether new IPv6 sockets are dual-stack by default.
    is_dual_stack: bool,
}

/// How a refusal is examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not at all: the port is known to be foreign.
    Known,
    /// Only as far as it takes to bind beside connections that an earlier listener left.
    PassOver,
    /// Also whether a process listens: if none does, the search waits for the port.
    Distinguish,
}

/// Checks whether the TCP port, and the UDP port if it is to be, can be bound on every address now.
pub(crate) fn probe(port: u16, udp: bool) -> Result<(), BindError> {
    let _tcp = Binder::default().bind_tcp_everywhere(port, Refusal::Distinguish)?;
    if udp { bind_udp_everywhere(port).map(drop) } else { Ok(()) }
}

// === impl Binder ===

impl Binder {
    /// Reads the default of new sockets (ip-sysctl, `bindv6only`).
    pub(crate) fn read_system_default(&mut self) {
        self.is_dual_stack = sysctl::is_ipv6_only() == Some(false);
    }

    /// Binds a port on every address, with the sockets that the request's hold level needs.
    pub(crate) fn bind(
        &mut self,
        port: u16,
        request: &PortRequest,
        refusal: Refusal,
    ) -> Result<Sockets, BindError> {
        let tcp = self.bind_tcp_everywhere(port, refusal)?;
        bind_at_level(tcp, port, request)
    }

    /// Binds the port alone, or beside connections that an earlier listener left.
    fn bind_tcp_everywhere(&mut self, port: u16, refusal: Refusal) -> Result<Socket, BindError> {
        match self.bind_without_reuse(port) {
            Err(BindError::InUse) => {
                self.bind_over_connections(port, refusal).map_err(|error| match error {
                    BindError::AddressNotHere(_) => BindError::InUse,
                    error => error,
                })
            }
            Err(BindError::AddressNotHere(_)) => bind_socket(
                SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
                Type::STREAM,
                false,
            ),
            bound_or_failed => bound_or_failed,
        }
    }

    /// Binds beside connections in TIME-WAIT, which refuse a bind without `SO_REUSEADDR`.
    ///
    /// A socket that was bound with the option and does not listen would not refuse it either. Such
    /// sockets on every address, like foreign guards, are found by a bind at the lookout; others are
    /// listed by the kernel since Linux 6.8, or the kernel lists no connection.
    fn bind_over_connections(&mut self, port: u16, refusal: Refusal) -> Result<Socket, BindError> {
        if refusal == Refusal::Known
            || refusal == Refusal::Distinguish && self.listeners.has_listener(port)
        {
            return Err(BindError::Served);
        }
        let lookout = self.bind_lookout(port)?;
        if refusal == Refusal::PassOver && self.listeners.has_listener(port) {
            return Err(BindError::Served);
        }
        let lookout = as_guard(lookout)?;
        let socket = bind_everywhere(port, Type::STREAM, true)?;
        if !portolan_host_facts::has_connections(port)
            || portolan_host_facts::is_bound_by_others(port, &[lookout.as_fd(), socket.as_fd()])
        {
            return Err(BindError::InUse);
        }
        socket.set_reuse_address(false).map_err(BindError::System)?;
        Ok(socket)
    }

    /// Binds at the lookout, which every socket on all addresses refuses, and no connection.
    fn bind_lookout(&mut self, port: u16) -> Result<Socket, BindError> {
        let address = SocketAddr::new(LOOKOUT.into(), port);
        let failed = |error| BindError::from_system(error, address.ip());
        let socket = match self.lookout.take() {
            Some(socket) => socket,
            None => new_socket(address, Type::STREAM).map_err(failed)?,
        };
        match socket.bind(&address.into()) {
            Ok(()) => Ok(socket),
            Err(error) => {
                self.lookout = Some(socket);
                Err(failed(error))
            }
        }
    }

    fn bind_without_reuse(&mut self, port: u16) -> Result<Socket, BindError> {
        let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let failed = |error| BindError::from_system(error, address.ip());
        let socket = match self.unbound.take() {
            Some(socket) => socket,
            None if self.is_dual_stack => {
                Socket::new(Domain::IPV6, Type::STREAM, None).map_err(failed)?
            }
            None => new_socket(address, Type::STREAM).map_err(failed)?,
        };
        match socket.bind(&address.into()) {
            Ok(()) => Ok(socket),
            Err(error) => {
                self.unbound = Some(socket);
                Err(failed(error))
            }
        }
    }
}

fn bind_at_level(tcp: Socket, port: u16, request: &PortRequest) -> Result<Sockets, BindError> {
    let udp = request.udp.then(|| bind_udp_everywhere(port)).transpose()?;
    match (request.depth, request.address.with_port(port)) {
        (Depth::Bound, None) => Ok(Sockets { guard: None, listener: Some(tcp), udp }),
        (Depth::Bound, Some(address)) => {
            let guard = as_guard(tcp)?;
            let listener = bind_beside(address, Type::STREAM)?;
            for socket in [&guard, &listener] {
                socket.set_reuse_address(false).map_err(BindError::System)?;
            }
            // UDP sockets cannot share a port safely, so the one on every address is closed first.
            let udp =
                udp.map(drop).map(|()| bind_socket(address, Type::DGRAM, false)).transpose()?;
            Ok(Sockets { guard: Some(guard), listener: Some(listener), udp })
        }
        (Depth::Guarded, address) => {
            let guard = as_guard(tcp)?;
            address.map(|address| bind_beside(address, Type::STREAM)).transpose()?;
            Ok(Sockets { guard: Some(guard), ..Sockets::default() })
        }
        (Depth::Claimed, _) => Ok(Sockets::default()),
    }
}

// === impl Sockets ===

impl Sockets {
    /// Returns the descriptors that keep the port.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.guard, &self.listener, &self.udp].into_iter().flatten().map(Socket::as_fd)
    }

    /// Returns the descriptors that a child inherits to serve on.
    pub(crate) fn serving(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.listener, &self.udp].into_iter().flatten().map(Socket::as_fd)
    }

    /// Returns a duplicate of the UDP socket.
    pub(crate) fn udp_socket(&self) -> io::Result<Option<UdpSocket>> {
        let copy = self.udp.as_ref().map(Socket::try_clone).transpose()?;
        Ok(copy.map(UdpSocket::from))
    }

    /// Listens on the port, with the socket that is bound for it, or else beside the guard.
    pub(crate) fn listen(&self, port: u16, address: BindAddress) -> io::Result<TcpListener> {
        let socket = match (&self.listener, &self.guard, address.with_port(port)) {
            (Some(socket), _, _) | (None, Some(socket), None) => socket.try_clone()?,
            (None, _, Some(address)) => bind_beside(address, Type::STREAM)?,
            (None, None, None) => {
                Binder::default().bind_tcp_everywhere(port, Refusal::Distinguish)?
            }
        };
        if socket.listen(BACKLOG).is_err() {
            // The guard or connections of an earlier listener are in the way.
            self.guard.iter().chain([&socket]).try_for_each(|it| it.set_reuse_address(true))?;
            socket.listen(BACKLOG)?;
        }
        // Accepted connections inherit it, so that a restart need not wait for their TIME-WAIT.
        socket.set_reuse_address(true)?;
        Ok(socket.into())
    }
}

/// Binds the UDP port alone. `SO_REUSEADDR` is never set: of two sockets with it, the later one gets
/// every datagram.
fn bind_udp_everywhere(port: u16) -> Result<Socket, BindError> {
    match bind_everywhere(port, Type::DGRAM, false) {
        Err(BindError::InUse) if portolan_host_facts::has_udp_socket(port) => {
            Err(BindError::Served)
        }
        bound_or_failed => bound_or_failed,
    }
}

fn as_guard(socket: Socket) -> Result<Socket, BindError> {
    socket.set_reuse_address(true).map_err(BindError::System)?;
    Ok(socket)
}

/// Binds beside the guard.
fn bind_beside(address: SocketAddr, kind: Type) -> Result<Socket, BindError> {
    bind_socket(address, kind, true)
}

/// Binds every address with one dual-stack socket, or every IPv4 address without IPv6.
fn bind_everywhere(port: u16, kind: Type, reuse: bool) -> Result<Socket, BindError> {
    match bind_socket(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), kind, reuse) {
        Err(BindError::AddressNotHere(_)) => {
            bind_socket(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), kind, reuse)
        }
        bound_or_failed => bound_or_failed,
    }
}

fn bind_socket(address: SocketAddr, kind: Type, reuse: bool) -> Result<Socket, BindError> {
    try_bind(address, kind, reuse).map_err(|error| BindError::from_system(error, address.ip()))
}

fn try_bind(address: SocketAddr, kind: Type, reuse: bool) -> io::Result<Socket> {
    let socket = new_socket(address, kind)?;
    if reuse {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Creates a socket; a dual-stack one for every address.
fn new_socket(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests;

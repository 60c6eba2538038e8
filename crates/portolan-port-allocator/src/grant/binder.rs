//! Binds ports, so that neither foreign processes nor the kernel can take them.
//!
//! A *guard* is a dual-stack socket on `[::]` with `SO_REUSEADDR` that never listens. The kernel
//! gives its port to nobody who asks for any port, and refuses it, on every address of IPv4 and
//! IPv6, to all who bind without `SO_REUSEADDR`; a server that sets the option binds and listens
//! beside it. Where IPv6 is off the guard is on `0.0.0.0`.
//!
//! Every socket is first bound without the option, which fails if anybody else is bound to the port
//! on any address, listening or not, guards of others included. Guards get it afterwards, and Linux
//! heeds it from then on; a socket that will listen gets it only as it listens, because until then
//! whoever sets the option too could listen first.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use portolan_host_facts::sysctl;
use portolan_reservations::Depth;
use socket2::{Domain, Socket, Type};

mod error;

pub(crate) use error::BindError;

use crate::bind_address::BindAddress;
use crate::request::PortRequest;

/// How many connections may wait to be accepted; more than any server here asks for, and the system
/// cuts it down to its own limit (`somaxconn`).
const BACKLOG: i32 = 1024;

/// An address of this host that nobody connects to, so that connections of the past have none there.
const LOOKOUT: Ipv4Addr = Ipv4Addr::new(127, 80, 111, 114);

/// What a lease holds of its port.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Keeps foreign processes away while somebody else binds, or while the listener has one address only.
    pub(crate) guard: Option<Socket>,
    /// Will listen.
    pub(crate) listener: Option<Socket>,
    /// Receives already.
    pub(crate) udp: Option<Socket>,
}

/// Binds ports one after the other, with one socket until it is bound: most of what a try costs is
/// to make and to close it.
#[derive(Debug, Default)]
pub(crate) struct Binder {
    unbound: Option<Socket>,
    /// Whether a new socket is of both families by itself, so that it need not be told.
    is_dual_stack: bool,
}

/// Whether the port could be bound on every address now, in TCP.
pub(crate) fn probe(port: u16) -> Result<(), BindError> {
    Binder::default().bind_tcp_everywhere(port, false).map(drop)
}

// === impl Binder ===

impl Binder {
    /// Sees how this system makes sockets now (ip-sysctl, `bindv6only`).
    pub(crate) fn look_at_system(&mut self) {
        self.is_dual_stack = sysctl::is_ipv6_only() == Some(false);
    }

    /// Binds a port on every address, as deep as the request says. All sockets or none.
    ///
    /// Where a foreign process was met on the port a moment ago, a refusal is not looked into again.
    pub(crate) fn bind(
        &mut self,
        port: u16,
        request: &PortRequest,
        is_known_foreign: bool,
    ) -> Result<Sockets, BindError> {
        let tcp = self.bind_tcp_everywhere(port, is_known_foreign)?;
        as_deep_as_wished(tcp, port, request)
    }

    /// Alone on the port, but for what an earlier listener left behind.
    fn bind_tcp_everywhere(
        &mut self,
        port: u16,
        is_known_foreign: bool,
    ) -> Result<Socket, BindError> {
        match self.bind_plainly(port) {
            // Asked first, because it is the usual case and the quickest answer.
            Err(BindError::InUse)
                if is_known_foreign || portolan_host_facts::has_listener(port) =>
            {
                Err(BindError::Served)
            }
            Err(BindError::InUse) => bind_over_leftovers(port).map_err(|error| match error {
                BindError::AddressNotHere(_) => BindError::InUse,
                error => error,
            }),
            Err(BindError::AddressNotHere(_)) => bind_socket(
                SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
                Type::STREAM,
                false,
            ),
            bound_or_failed => bound_or_failed,
        }
    }

    fn bind_plainly(&mut self, port: u16) -> Result<Socket, BindError> {
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

fn as_deep_as_wished(tcp: Socket, port: u16, request: &PortRequest) -> Result<Sockets, BindError> {
    let udp = request.udp.then(|| bind_udp_everywhere(port)).transpose()?;
    match (request.depth, request.address.with_port(port)) {
        (Depth::Bound, None) => Ok(Sockets { guard: None, listener: Some(tcp), udp }),
        (Depth::Bound, Some(address)) => {
            let guard = as_guard(tcp)?;
            let listener = bind_beside(address, Type::STREAM)?;
            for socket in [&guard, &listener] {
                socket.set_reuse_address(false).map_err(BindError::System)?;
            }
            // Two sockets of UDP cannot share a port safely, so the one on every address goes first.
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
    /// The descriptors that keep the port.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.guard, &self.listener, &self.udp].into_iter().flatten().map(Socket::as_fd)
    }

    /// The descriptors that somebody serves on.
    pub(crate) fn serving(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.listener, &self.udp].into_iter().flatten().map(Socket::as_fd)
    }

    /// Another descriptor of the UDP socket.
    pub(crate) fn udp_socket(&self) -> io::Result<Option<UdpSocket>> {
        let copy = self.udp.as_ref().map(Socket::try_clone).transpose()?;
        Ok(copy.map(UdpSocket::from))
    }

    /// Listens on the port: with the socket that was bound for it where there is one, else beside
    /// the guard.
    pub(crate) fn listen(&self, port: u16, address: BindAddress) -> io::Result<TcpListener> {
        let socket = match (&self.listener, &self.guard, address.with_port(port)) {
            (Some(socket), _, _) | (None, Some(socket), None) => socket.try_clone()?,
            (None, _, Some(address)) => bind_beside(address, Type::STREAM)?,
            (None, None, None) => Binder::default().bind_tcp_everywhere(port, false)?,
        };
        if socket.listen(BACKLOG).is_err() {
            // Our own guard is in the way, or what an earlier listener left behind.
            self.guard.iter().chain([&socket]).try_for_each(|it| it.set_reuse_address(true))?;
            socket.listen(BACKLOG)?;
        }
        // The connections that this socket accepts inherit it, so that a restart need not wait for
        // them to time out.
        socket.set_reuse_address(true)?;
        Ok(socket.into())
    }
}

/// Connections that are only waiting for their end refuse a plain bind on their addresses, and not
/// one with SO_REUSEADDR. Nor does a socket that is bound with the option and does not listen: of
/// these the ones on every address, guards of others above all, show at the lookout, and the others
/// in that the system lists them (since Linux 6.8), or lists no connection.
fn bind_over_leftovers(port: u16) -> Result<Socket, BindError> {
    let lookout = bind_socket(SocketAddr::new(LOOKOUT.into(), port), Type::STREAM, false)?;
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

/// Alone on the port. Two sockets of UDP that both set SO_REUSEADDR would share it, and the later
/// one get every datagram, so it is never set.
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

/// Beside our own guard.
fn bind_beside(address: SocketAddr, kind: Type) -> Result<Socket, BindError> {
    bind_socket(address, kind, true)
}

/// On every address of both families with one socket; of IPv4 where there is no other.
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

/// Of both families where it is for every address.
fn new_socket(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests;

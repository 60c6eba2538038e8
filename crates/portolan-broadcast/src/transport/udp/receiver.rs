//! The receiver of a group, and the interfaces on which it has joined.
//!
//! For IPv4 it is one socket. For IPv6 it is one for each interface, because a socket that is bound to a
//! link-local group receives from one interface, and one that is bound to every address would receive unicast from
//! anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use socket2::{InterfaceIndexOrAddress, SockRef, Socket as RawSocket};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::{Selected, log_not_joined, raw_socket};
use crate::transport::{BoxFuture, Receiver};

/// Receives the group.
#[derive(Debug)]
pub(super) struct GroupReceiver {
    group: SocketAddr,
    /// The address of the sockets.
    address: SocketAddr,
    sockets: Sockets,
    failed: Mutex<BTreeMap<u32, io::ErrorKind>>,
}

#[derive(Debug)]
enum Sockets {
    One {
        socket: UdpSocket,
        joined: Mutex<BTreeSet<u32>>,
    },
    PerInterface {
        open: Mutex<BTreeMap<u32, Arc<UdpSocket>>>,
        changed: Notify,
        /// The runtime that receives, whichever opens further sockets.
        runtime: Handle,
    },
}

// === impl GroupReceiver ===

impl GroupReceiver {
    /// Opens the receiver. It has not joined the group on any interface.
    pub(super) fn open(group: SocketAddr, address: SocketAddr) -> io::Result<Self> {
        let sockets = match group {
            SocketAddr::V4(_) => {
                let socket = shared_socket(address)?;
                // By default Linux delivers the groups of every process to the socket (ip(7), IP_MULTICAST_ALL).
                #[cfg(any(target_os = "android", target_os = "linux"))]
                socket.set_multicast_all_v4(false)?;
                let socket = UdpSocket::from_std(socket.into())?;
                Sockets::One { socket, joined: Mutex::default() }
            }
            SocketAddr::V6(_) => {
                // Whether the host has IPv6.
                drop(raw_socket(group)?);
                Sockets::PerInterface {
                    open: Mutex::default(),
                    changed: Notify::new(),
                    runtime: Handle::current(),
                }
            }
        };
        Ok(Self { group, address, sockets, failed: Mutex::default() })
    }

    pub(super) fn has_joined(&self, index: u32) -> bool {
        match &self.sockets {
            Sockets::One { joined, .. } => joined.lock().contains(&index),
            Sockets::PerInterface { open, .. } => open.lock().contains_key(&index),
        }
    }

    /// Joins the group on these interfaces and leaves it on all others. A failure is logged once for each
    /// interface until it succeeds or fails in another way.
    pub(super) fn join(&self, loopback: &[Selected], networks: &[Selected]) {
        let wanted: Vec<&Selected> = loopback.iter().chain(networks).collect();
        let is_wanted = |index: &u32| wanted.iter().any(|selected| selected.index == *index);
        self.leave_all_but(is_wanted);
        let mut failed = self.failed.lock();
        failed.retain(|index, _| is_wanted(index));
        for selected in &wanted {
            if self.has_joined(selected.index) {
                continue;
            }
            match self.join_on(selected) {
                Ok(()) => drop(failed.remove(&selected.index)),
                Err(error) => {
                    if failed.insert(selected.index, error.kind()) != Some(error.kind()) {
                        log_not_joined(self.group, &selected.name, &error);
                    }
                }
            }
        }
    }

    fn leave_all_but(&self, is_wanted: impl Fn(&u32) -> bool) {
        match (&self.sockets, self.group) {
            (Sockets::One { socket, joined }, SocketAddr::V4(group)) => {
                joined.lock().retain(|index| {
                    let keep = is_wanted(index);
                    if !keep {
                        let interface = InterfaceIndexOrAddress::Index(*index);
                        // It fails if the interface itself is gone, with its memberships.
                        _ = SockRef::from(socket).leave_multicast_v4_n(group.ip(), &interface);
                    }
                    keep
                });
            }
            (Sockets::PerInterface { open, changed, .. }, _) => {
                open.lock().retain(|index, _| is_wanted(index));
                changed.notify_one();
            }
            _ => {}
        }
    }

    fn join_on(&self, selected: &Selected) -> io::Result<()> {
        match (&self.sockets, self.group) {
            (Sockets::One { socket, joined }, SocketAddr::V4(group)) => {
                join_v4(&SockRef::from(socket), *group.ip(), selected)?;
                joined.lock().insert(selected.index);
            }
            (Sockets::PerInterface { open, changed, runtime }, SocketAddr::V6(group)) => {
                let _entered = runtime.enter();
                let socket = self.open_on(*group.ip(), selected.index)?;
                open.lock().insert(selected.index, Arc::new(socket));
                changed.notify_one();
            }
            _ => {}
        }
        Ok(())
    }

    fn open_on(&self, group: Ipv6Addr, index: u32) -> io::Result<UdpSocket> {
        let address = match self.address {
            SocketAddr::V6(address) if address.ip().is_multicast() => {
                SocketAddrV6::new(*address.ip(), address.port(), 0, index).into()
            }
            address => address,
        };
        let socket = shared_socket(address)?;
        socket.join_multicast_v6(&group, index)?;
        UdpSocket::from_std(socket.into())
    }
}

/// Joins by the index of the interface, or on loopback by its address.
fn join_v4(socket: &RawSocket, group: Ipv4Addr, selected: &Selected) -> io::Result<()> {
    match selected.ipv4 {
        Some(address) if address.is_loopback() => socket.join_multicast_v4(&group, &address),
        _ => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(selected.index)),
    }
}

/// Opens a socket whose address several processes of a host share: Linux needs `SO_REUSEADDR` for that, the
/// BSDs `SO_REUSEPORT`, and other programs on the channel may have set either.
fn shared_socket(address: SocketAddr) -> io::Result<RawSocket> {
    let socket = raw_socket(address)?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Receiver for Arc<GroupReceiver> {
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(async move {
            match &self.sockets {
                Sockets::One { socket, .. } => socket.recv_from(buffer).await,
                Sockets::PerInterface { open, changed, .. } => loop {
                    let mut change = pin!(changed.notified());
                    let sockets: Vec<_> = open.lock().values().cloned().collect();
                    let next = poll_fn(|context| match change.as_mut().poll(context) {
                        Poll::Ready(()) => Poll::Ready(None),
                        Poll::Pending => poll_all(&sockets, buffer, context).map(Some),
                    });
                    if let Some(received) = next.await {
                        return received;
                    }
                },
            }
        })
    }
}

fn poll_all(
    sockets: &[Arc<UdpSocket>],
    buffer: &mut [u8],
    context: &mut Context<'_>,
) -> Poll<io::Result<(usize, SocketAddr)>> {
    // A random first one, so that a flood on one interface does not silence the others.
    let first = if sockets.len() > 1 { rand::random_range(0..sockets.len()) } else { 0 };
    for socket in sockets.iter().cycle().skip(first).take(sockets.len()) {
        let mut buffer = ReadBuf::new(buffer);
        if let Poll::Ready(received) = socket.poll_recv_from(context, &mut buffer) {
            let size = buffer.filled().len();
            return Poll::Ready(received.map(|source| (size, source)));
        }
    }
    Poll::Pending
}

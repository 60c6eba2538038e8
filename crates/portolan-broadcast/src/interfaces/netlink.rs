//! Changes of interfaces as the Linux kernel reports them, rtnetlink(7).

use std::io;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::net::UnixDatagram;

/// `RTMGRP_LINK`, and the `IFADDR` and `ROUTE` groups of IPv4 and IPv6.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// A subscription. tokio has no type for netlink; a datagram socket receives in the same way.
#[derive(Debug)]
pub(super) struct Source(UnixDatagram);

// === impl Source ===

impl Source {
    /// Subscribes to the changes. Must be called within a tokio runtime.
    pub(super) fn subscribe() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        // Without a protocol it is NETLINK_ROUTE, which is 0.
        let socket = rustix::net::socket_with(family, kind, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        UnixDatagram::from_std(socket.into()).map(Self)
    }

    /// Waits for a report. What changed does not matter: the reader reads everything again. An overflow of
    /// the queue (ENOBUFS) is a change, too.
    pub(super) async fn changed(&self) {
        drop(self.0.recv(&mut [0; 8192]).await);
    }

    /// Discards the reports that are queued.
    pub(super) fn discard(&self) {
        while self.0.try_recv(&mut [0; 8192]).is_ok() {}
    }
}

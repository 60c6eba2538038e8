//! A listener whose port is leased.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;

use portolan_port_allocator::{AllocatorError, PortLease};

use crate::error::TestingError;

/// A listener on a port of 127.0.0.1, and the lease on that port, which keeps everybody off it who does
/// not mean this very port: on every address, so that `localhost` is not another server by chance.
pub struct Listener {
    // In this order: whoever sees the port free must find it free.
    listener: TcpListener,
    lease: PortLease,
}

// === impl Listener ===

impl Listener {
    /// Listens with the very socket that the lease was granted with.
    pub(crate) fn new(lease: PortLease) -> Result<Self, TestingError> {
        let port = lease.port();
        let socket = |source| AllocatorError::Socket { port, source };
        let sockets = lease.listening_sockets()?;
        let bound = sockets.first().ok_or_else(|| socket(std::io::ErrorKind::NotFound.into()))?;
        let listener = TcpListener::from(bound.try_clone_to_owned().map_err(socket)?);
        Ok(Self { listener, lease })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()))
    }

    /// The listener alone, for who wants to own one. The port is reserved as long as it listens; from
    /// strangers on 127.0.0.1 only.
    pub fn into_std(self) -> TcpListener {
        let Self { listener, lease } = self;
        // Both are one socket, which is listed under the test's name where the lease gives it.
        lease.into_listener().unwrap_or(listener)
    }

    /// The listener alone, for tokio; as [`into_std`](Self::into_std).
    ///
    /// # Errors
    /// It is not called within a runtime of tokio.
    #[cfg(feature = "tokio")]
    pub fn into_tokio(self) -> std::io::Result<tokio::net::TcpListener> {
        let listener = self.into_std();
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    }
}

impl Deref for Listener {
    type Target = TcpListener;

    fn deref(&self) -> &TcpListener {
        &self.listener
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.address()).finish()
    }
}

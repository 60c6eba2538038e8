//! A listener on a leased port.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;

use portolan_port_allocator::{AllocatorError, PortLease};

use crate::error::TestingError;

/// A listener on a leased port of 127.0.0.1. The lease reserves the port on every address, so that
/// `localhost` is not another server by accident.
pub struct TestListener {
    // The order matters: the socket is closed before the lease is released.
    listener: TcpListener,
    lease: PortLease,
}

// === impl TestListener ===

impl TestListener {
    /// Uses the socket with which the lease was granted.
    pub(crate) fn new(lease: PortLease) -> Result<Self, TestingError> {
        let port = lease.port();
        let socket = |source| AllocatorError::Socket { port, source };
        let sockets = lease.listening_sockets()?;
        let bound = sockets.first().ok_or_else(|| socket(std::io::ErrorKind::NotFound.into()))?;
        let listener = TcpListener::from(bound.try_clone_to_owned().map_err(socket)?);
        Ok(Self { listener, lease })
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// Returns the address to connect to.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()))
    }

    /// Converts into the listener alone. The port stays reserved while it listens, but against
    /// foreign processes only on 127.0.0.1.
    pub fn into_std(self) -> TcpListener {
        let Self { listener, lease } = self;
        // Both are the same socket. The lease's socket keeps the name of the test in `ports list`.
        lease.into_listener().unwrap_or(listener)
    }

    /// Converts into a tokio listener, like [`into_std`](Self::into_std).
    ///
    /// # Errors
    /// Fails outside a tokio runtime.
    #[cfg(feature = "tokio")]
    pub fn into_tokio(self) -> std::io::Result<tokio::net::TcpListener> {
        let listener = self.into_std();
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    }
}

impl Deref for TestListener {
    type Target = TcpListener;

    fn deref(&self) -> &TcpListener {
        &self.listener
    }
}

impl fmt::Debug for TestListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TestListener").field(&self.address()).finish()
    }
}

//! A foreign listener: a process on a port without a lease.

use std::net::TcpListener;

use anyhow::{Context, Result};

/// A listener on a port of 127.0.0.1, closed when dropped.
#[derive(Debug)]
pub struct ForeignListener {
    listener: TcpListener,
}

// === impl ForeignListener ===

impl ForeignListener {
    /// Binds the port.
    ///
    /// # Errors
    /// The port is in use.
    pub fn bind(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| {
            format!("port {port} is already in use; end the process that holds it (see `ss -ltnp`)")
        })?;
        Ok(Self { listener })
    }

    /// Returns the bound port.
    ///
    /// # Errors
    /// The system call fails.
    pub fn port(&self) -> Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }
}

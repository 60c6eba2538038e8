//! Somebody else, who holds a port and knows nothing of Portolan.

use std::net::TcpListener;

use anyhow::{Context, Result};

/// A listener on a port of 127.0.0.1, held until it is dropped.
#[derive(Debug)]
pub struct ForeignListener {
    listener: TcpListener,
}

// === impl ForeignListener ===

impl ForeignListener {
    /// Takes the port.
    ///
    /// # Errors
    /// Somebody else has it already.
    pub fn bind(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| {
            format!("port {port} is taken already; end what holds it (`ss -ltnp` names it)")
        })?;
        Ok(Self { listener })
    }

    /// The port that it holds.
    ///
    /// # Errors
    /// The system does not say.
    pub fn port(&self) -> Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }
}

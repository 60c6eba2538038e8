//! Finds out whether what listens on a port speaks what it should: the first words of a
//! conversation, without logging in and without leaving a mark.

mod grpc;
mod http;
mod postgres;
mod redis;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The first words of a protocol.
#[derive(Clone, Copy)]
pub(crate) struct Handshake {
    /// The protocol, as a person calls it.
    pub(crate) name: &'static str,
    /// Speaks them, and tells whether the answer is one of the protocol.
    shake: for<'a> fn(&'a mut TcpStream, SocketAddr) -> BoxFuture<'a, io::Result<bool>>,
}

// === impl Handshake ===

impl Handshake {
    /// The handshake of a pool of services.
    pub(crate) fn of_pool(pool: &str) -> Option<Self> {
        match pool {
            "database" => Some(postgres::HANDSHAKE),
            "cache" => Some(redis::HANDSHAKE),
            // A web socket begins as an HTTP request.
            "api" | "metrics" | "websocket" => Some(http::HANDSHAKE),
            "grpc" => Some(grpc::HANDSHAKE),
            _ => None,
        }
    }

    /// Whether the other side speaks the protocol. It is given as long as the caller waits.
    pub(crate) async fn succeeds(
        self,
        stream: &mut TcpStream,
        peer: SocketAddr,
    ) -> io::Result<bool> {
        (self.shake)(stream, peer).await
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handshake").field(&self.name).finish()
    }
}

/// Reads so many bytes, or fewer where the other side ends.
async fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(N);
    stream.take(N as u64).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;

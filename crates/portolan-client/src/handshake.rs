//! Protocol handshakes: check whether a listener speaks the expected protocol, without logging in
//! and without changing anything.

mod grpc;
mod http;
mod postgres;
mod redis;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use portolan_core::pools::Pool;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The opening exchange of a protocol.
#[derive(Clone, Copy)]
pub(crate) struct Handshake {
    /// The name of the protocol, for a person to read.
    pub(crate) name: &'static str,
    /// Sends the opening message and returns whether the answer is valid.
    exchange: for<'a> fn(&'a mut TcpStream, SocketAddr) -> BoxFuture<'a, io::Result<bool>>,
}

// === impl Handshake ===

impl Handshake {
    /// Returns the handshake of the services of a pool.
    pub(crate) fn for_pool(pool: &Pool) -> Option<Self> {
        match pool.name.as_str() {
            "database" => Some(postgres::HANDSHAKE),
            "cache" => Some(redis::HANDSHAKE),
            "grpc" => Some(grpc::HANDSHAKE),
            // Also `websocket`: a WebSocket connection starts as an HTTP request.
            _ => pool.http.then_some(http::HANDSHAKE),
        }
    }

    /// Returns whether the peer speaks the protocol. The caller sets the deadline.
    pub(crate) async fn succeeds(
        self,
        stream: &mut TcpStream,
        peer: SocketAddr,
    ) -> io::Result<bool> {
        (self.exchange)(stream, peer).await
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handshake").field(&self.name).finish()
    }
}

/// Reads `N` bytes, or fewer if the peer closes the connection.
async fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(N);
    stream.take(N as u64).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;

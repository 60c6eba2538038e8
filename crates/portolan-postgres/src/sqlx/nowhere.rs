//! An address at which nothing ever listens.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of loopback that is taken, and refuses connections. sqlx waits and tries again if a connection is refused; any other
/// failure, such as that of another server that does not know the user, would end an acquisition at once.
#[derive(Debug)]
pub(super) struct Nowhere {
    port: u16,
    /// Bound, and never listening.
    _socket: TcpSocket,
}

// === impl Nowhere ===

impl Nowhere {
    pub(super) fn reserve() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self { port: socket.local_addr()?.port(), _socket: socket })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn connections_are_refused() {
        let nowhere = Nowhere::reserve().unwrap();
        let error = TcpStream::connect((Ipv4Addr::LOCALHOST, nowhere.port())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}

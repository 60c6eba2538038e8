//! Whether a program takes connections from a socket that listened before the program was there.
//!
//! Connecting to such a socket proves nothing: the kernel takes the connection, and keeps it until
//! the program accepts it. Until then its far end belongs to no process.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection within this host may take.
const CONNECT: Duration = Duration::from_millis(500);

/// A connection that waits to be accepted. One will do: each more is one that the program finds
/// waiting when it has started.
#[derive(Debug)]
pub(crate) struct Caller {
    stream: TcpStream,
    from: u16,
    to: u16,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// It waits.
    Waits,
    /// The program has accepted it.
    Accepted,
    /// The socket was closed, or whoever accepted it has no use for it.
    Refused,
}

// === impl Caller ===

impl Caller {
    /// Connects to an address of this host; none where nothing listens there.
    pub(crate) async fn call(address: SocketAddr) -> Option<Self> {
        let stream = timeout(CONNECT, TcpStream::connect(address)).await.ok()?.ok()?;
        let from = stream.local_addr().ok()?.port();
        Some(Self { stream, from, to: address.port() })
    }

    /// What became of it.
    pub(crate) fn outcome(&self) -> Call {
        match self.stream.try_read(&mut [0]) {
            Ok(_) => Call::Accepted,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                match portolan_host_facts::is_accepted(self.to, self.from) {
                    true => Call::Accepted,
                    false => Call::Waits,
                }
            }
            Err(_) => Call::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_waits_until_it_is_accepted() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let caller = Caller::call(address).await.expect("it listens");
            assert_eq!(caller.outcome(), Call::Waits);
            let _accepted = listener.accept().unwrap();
            assert_eq!(caller.outcome(), Call::Accepted);
        }
    }

    #[tokio::test]
    async fn a_socket_that_is_closed_accepts_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let caller = Caller::call(address).await.expect("it listens");
        drop(listener);
        crate::testing::until("the refusal", || (caller.outcome() == Call::Refused).then_some(()))
            .await;
        assert!(Caller::call(address).await.is_none());
    }
}

//! A probe that detects when a program accepts connections from an inherited socket.
//!
//! A successful connection proves nothing: the kernel completes it and queues it until the program
//! accepts it. Until then the socket at the server's end belongs to no process.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// Timeout of a connection within this host.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection in the accept queue. One is enough: the program has to accept each of them.
#[derive(Debug)]
pub(crate) struct AcceptProbe {
    stream: TcpStream,
    from: u16,
    to: u16,
}

/// The state of the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeState {
    /// It is in the accept queue.
    Pending,
    /// The program has accepted it.
    Accepted,
    /// The listening socket was closed, or the accepted connection was reset.
    Refused,
}

// === impl AcceptProbe ===

impl AcceptProbe {
    /// Connects to an address of this host; `None` if no socket listens there.
    pub(crate) async fn connect(address: SocketAddr) -> Option<Self> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.ok()?.ok()?;
        let from = stream.local_addr().ok()?.port();
        Some(Self { stream, from, to: address.port() })
    }

    /// Returns the state of the probe.
    pub(crate) fn state(&self) -> ProbeState {
        match self.stream.try_read(&mut [0]) {
            Ok(_) => ProbeState::Accepted,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                match portolan_host_facts::is_accepted(self.to, self.from) {
                    true => ProbeState::Accepted,
                    false => ProbeState::Pending,
                }
            }
            Err(_) => ProbeState::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn probe_is_pending_until_it_is_accepted() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let probe = AcceptProbe::connect(address).await.expect("it listens");
            assert_eq!(probe.state(), ProbeState::Pending);
            let _accepted = listener.accept().unwrap();
            assert_eq!(probe.state(), ProbeState::Accepted);
        }
    }

    #[tokio::test]
    async fn closed_socket_refuses_the_probe() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let probe = AcceptProbe::connect(address).await.expect("it listens");
        drop(listener);
        crate::test_env::poll_until("the refusal", || {
            (probe.state() == ProbeState::Refused).then_some(())
        })
        .await;
        assert!(AcceptProbe::connect(address).await.is_none());
    }
}

//! A single question to an address: does anything listen there?

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// What an address answers to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The connection was accepted, and is closed again; or it was reset before it was complete, because the listener was closed
    /// just then.
    Accepted,
    /// The host answered that nothing listens there (RFC 9293, 3.5.2). A firewall may answer the same.
    Refused,
    /// There was no answer in time, or the host cannot be reached. Says nothing about what listens there.
    NoAnswer,
}

/// Connects to the address.
pub async fn probe(address: SocketAddr, within: Duration) -> ProbeOutcome {
    match timeout(within, TcpStream::connect(address)).await {
        Ok(Ok(stream)) if is_to_itself(&stream) => ProbeOutcome::Refused,
        Ok(Ok(_)) => ProbeOutcome::Accepted,
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => ProbeOutcome::Refused,
            io::ErrorKind::ConnectionReset => ProbeOutcome::Accepted,
            _ => ProbeOutcome::NoAnswer,
        },
        Err(_) => ProbeOutcome::NoAnswer,
    }
}

/// Whether the connection leads to its own socket: the kernel chose the probed port as that of the client, so nothing listens
/// there (simultaneous open, RFC 9293, 3.5).
fn is_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(own), Ok(peer)) if own == peer)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn listener_accepts_and_its_end_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let within = Duration::from_secs(20);
        assert_eq!(probe(address, within).await, ProbeOutcome::Accepted);
        drop(listener);
        assert_eq!(probe(address, within).await, ProbeOutcome::Refused);
    }
}

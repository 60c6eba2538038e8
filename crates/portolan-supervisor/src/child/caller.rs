//! Whether a program takes connections from a socket that listened before the program was there.
//!
//! Connecting to such a socket proves nothing: the kernel takes the connection, and keeps it until
//! the program accepts it. Until then its far end belongs to no process.

use std::fs;
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
            Err(error) if error.kind() == ErrorKind::WouldBlock => match self.is_taken() {
                true => Call::Accepted,
                false => Call::Waits,
            },
            Err(_) => Call::Refused,
        }
    }

    fn is_taken(&self) -> bool {
        let lists = ["tcp", "tcp6"].map(|name| format!("/proc/thread-self/net/{name}"));
        lists.iter().filter_map(|path| fs::read_to_string(path).ok()).any(|list| {
            list.lines().any(|line| owner_of(line, self.to, self.from).is_some_and(|it| it != 0))
        })
    }
}

/// The inode of the socket in this line of proc_net(5), where it is at this end of the connection.
/// One that was not accepted yet has the inode 0.
fn owner_of(line: &str, here: u16, there: u16) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = |at: usize| u16::from_str_radix(fields.get(at)?.rsplit_once(':')?.1, 16).ok();
    let is_it = port(1) == Some(here) && port(2) == Some(there);
    fields.get(9).filter(|_| is_it)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_far_end_is_found_by_both_ports() {
        let line =
            " 3: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000 0 0 77 1";
        assert_eq!(owner_of(line, 8080, 54321), Some(77));
        assert_eq!(owner_of(line, 54321, 8080), None);
        assert_eq!(owner_of("", 1, 2), None);
    }

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

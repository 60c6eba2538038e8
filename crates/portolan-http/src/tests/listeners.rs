use std::future::{Ready, pending, ready};
use std::io;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use super::support::{SHORT, plain, read_to_end};
use crate::{HttpLimits, Listener, Peer, ServeError, serve};

/// Fails like a listener whose socket was closed.
struct Broken;

impl Listener for Broken {
    type Io = DuplexStream;
    type Handshake = Ready<io::Result<(DuplexStream, Peer)>>;

    async fn accept(&mut self) -> io::Result<(Peer, Self::Handshake)> {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

#[tokio::test]
async fn permanent_listener_failure_ends_the_server_with_an_error() {
    let result = serve(Broken, [plain()], HttpLimits::default(), pending()).await;
    assert!(matches!(result, Err(ServeError::Accept { .. })));
}

/// Accepts in-memory streams. The handshake of a peer that sends `None` never ends, as with a TLS
/// client that sends no hello.
struct Memory(mpsc::Receiver<Option<DuplexStream>>);

impl Listener for Memory {
    type Io = DuplexStream;
    type Handshake = BoxFuture<'static, io::Result<(DuplexStream, Peer)>>;

    async fn accept(&mut self) -> io::Result<(Peer, Self::Handshake)> {
        let accepted = self.0.recv().await.ok_or(io::ErrorKind::NotConnected)?;
        let peer = Peer::Unix { uid: 0, pid: None };
        let handshake: Self::Handshake = match accepted {
            Some(stream) => Box::pin(ready(Ok((stream, peer.clone())))),
            None => Box::pin(pending()),
        };
        Ok((peer, handshake))
    }
}

#[tokio::test(start_paused = true)]
async fn unfinished_handshake_blocks_nobody_and_makes_room() {
    let (sender, receiver) = mpsc::channel(2);
    let limits = HttpLimits { head: SHORT, connections: 1, ..HttpLimits::default() };
    let server = tokio::spawn(serve(Memory(receiver), [plain()], limits, pending()));
    sender.send(None).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let (mut client, stream) = duplex(1024);
        sender.send(Some(stream)).await.unwrap();
        client.write_all(b"GET /ping HTTP/1.0\r\n\r\n").await.unwrap();
        statuses.push(read_to_end(client).await[9..12].to_owned());
        // The clock is paused: this runs every timer that is due earlier.
        tokio::time::sleep(SHORT * 2).await;
    }
    // The handshake had the only place.
    assert_eq!(statuses, ["200", "200"]);
    drop(sender);
    assert!(matches!(server.await.unwrap(), Err(ServeError::Accept { .. })));
}

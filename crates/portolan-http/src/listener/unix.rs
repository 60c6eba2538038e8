//! Unix stream sockets (unix(7)). The permissions of the socket's directory decide who can connect.

use std::future::{Ready, ready};
use std::io;

use tokio::net::{UnixListener, UnixStream};

use super::{Listener, Peer};

impl Listener for UnixListener {
    type Io = UnixStream;
    type Handshake = Ready<io::Result<(UnixStream, Peer)>>;

    async fn accept(&mut self) -> io::Result<(Peer, Self::Handshake)> {
        let (stream, _) = UnixListener::accept(self).await?;
        // A failure concerns this connection only.
        let credentials = stream.peer_cred().map_err(|_| io::ErrorKind::ConnectionAborted)?;
        let peer = Peer::Unix { uid: credentials.uid(), pid: credentials.pid() };
        Ok((peer.clone(), ready(Ok((stream, peer)))))
    }
}

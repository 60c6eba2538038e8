//! Unix stream sockets (unix(7)). The permissions of the socket's directory decide who can connect.

use std::future::{Ready, ready};
use std::io;

use tokio::net::{UnixListener, UnixStream};

use super::{Listener, Peer};

impl Listener for UnixListener {
    type Io = UnixStream;
    type Handshake = Ready<io::Result<(UnixStream, Peer)>>;

    async fn accept(&mut self) -> io::Result<Self::Handshake> {
        let (stream, _) = UnixListener::accept(self).await?;
        let peer = stream.peer_cred().map(|cred| Peer::Unix { uid: cred.uid(), pid: cred.pid() });
        Ok(ready(peer.map(|peer| (stream, peer))))
    }
}

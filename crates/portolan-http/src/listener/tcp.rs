//! TCP.

use std::future::{Ready, ready};
use std::io;

use tokio::net::{TcpListener, TcpStream};

use super::{Listener, Peer};

impl Listener for TcpListener {
    type Io = TcpStream;
    type Handshake = Ready<io::Result<(TcpStream, Peer)>>;

    async fn accept(&mut self) -> io::Result<Self::Handshake> {
        let (stream, remote) = TcpListener::accept(self).await?;
        // Events of a watch are small and must not wait for an acknowledgement (Nagle). A socket
        // that refuses the option works without it.
        drop(stream.set_nodelay(true));
        let local = stream.local_addr().ok();
        Ok(ready(Ok((stream, Peer::Tcp { remote, local }))))
    }
}

//! TCP.

use std::future::{Ready, ready};
use std::io;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::{Listener, Peer};

/// How many bytes the kernel takes of a response that it cannot send yet.
const UNSENT: u32 = 128 * 1024;

impl Listener for TcpListener {
    type Io = TcpStream;
    type Handshake = Ready<io::Result<(TcpStream, Peer)>>;

    async fn accept(&mut self) -> io::Result<(Peer, Self::Handshake)> {
        let (stream, remote) = TcpListener::accept(self).await?;
        // Events of a watch are small and must not wait for an acknowledgement (Nagle). A socket
        // that refuses the option works without it.
        drop(stream.set_nodelay(true));
        // What a peer does not read waits here, within limits, and not in the kernel.
        drop(SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT));
        let peer = Peer::Tcp { remote, local: stream.local_addr().ok() };
        Ok((peer.clone(), ready(Ok((stream, peer)))))
    }
}

//! TLS over TCP (RFC 8446). The handshake runs in the task of the connection.

use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_tls::{ServerTls, TlsStream, client_names};
use tokio::net::{TcpListener, TcpStream};

use super::{Listener, Peer};

/// A TCP listener whose connections use TLS.
#[derive(Debug)]
pub struct TlsListener {
    tcp: TcpListener,
    tls: Arc<ServerTls>,
}

// === impl TlsListener ===

impl TlsListener {
    /// Serves the listener's connections with the certificate.
    pub fn new(tcp: TcpListener, tls: Arc<ServerTls>) -> Self {
        Self { tcp, tls }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Handshake = BoxFuture<'static, io::Result<(Self::Io, Peer)>>;

    async fn accept(&mut self) -> io::Result<(Peer, Self::Handshake)> {
        let (peer, plain) = Listener::accept(&mut self.tcp).await?;
        let tls = Arc::clone(&self.tls);
        let handshake = async move {
            let (stream, peer) = plain.await?;
            let stream = tls.acceptor().accept(stream).await?;
            let certificates = stream.get_ref().1.peer_certificates();
            let names = certificates.and_then(<[_]>::first).map(client_names);
            Ok((stream, peer.with_certificate(names)))
        };
        Ok((peer, handshake.boxed()))
    }
}

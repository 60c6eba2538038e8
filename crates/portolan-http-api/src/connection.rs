//! One connection: requests in, answers out, and a close that lets the last answer arrive.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::{BoxError, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;

use crate::Limits;
use crate::patience::Patient;

/// How many bytes the head of a request may have.
const HEAD: usize = 64 * 1024;
/// How long a peer that is still sending is listened to after the last answer. Closing at once
/// would make its system throw the answer away.
const LINGER: Duration = Duration::from_secs(5);
/// How long such a peer may pause.
const PAUSE: Duration = Duration::from_secs(1);
/// The same, where everybody has to leave.
const PAUSE_AT_SHUTDOWN: Duration = Duration::from_millis(50);

/// Who asks, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    peer: SocketAddr,
    same_machine: bool,
    /// Cancelled when the server shuts down.
    pub(crate) closing: CancellationToken,
}

// === impl Caller ===

impl Caller {
    /// The peer of a connection that was made to `own`, where that is known.
    pub(crate) fn new(
        peer: SocketAddr,
        own: Option<SocketAddr>,
        closing: CancellationToken,
    ) -> Self {
        let at_own_address = own.is_some_and(|own| own.ip() == peer.ip());
        let same_machine = at_own_address || peer.ip().to_canonical().is_loopback();
        Self { peer, same_machine, closing }
    }

    /// Where the request comes from, as the network shows it.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The machine that the request comes from: the loopback address where it is this one,
    /// whichever of its addresses was used.
    pub(crate) fn machine(&self) -> IpAddr {
        match self.same_machine {
            true => Ipv4Addr::LOCALHOST.into(),
            false => self.peer.ip(),
        }
    }
}

/// Serves the connection until the peer has had enough, or the server shuts down.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    closing: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "Connection could not be set up");
    }
    let caller = Caller::new(peer, stream.local_addr().ok(), closing.clone());
    let service = service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(caller.clone());
        Box::pin(router.clone().oneshot(request))
    });
    let io = TokioIo::new(Patient::new(stream, limits.write));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD)
        .serve_connection(io, service);
    let (stream, ended) = attend(connection, &closing).await;
    if let Err(error) = ended {
        debug!(%peer, %error, "Connection ended early");
        // Who took too long was sent nothing, and is not waited for any longer.
        if error.is_timeout() {
            return;
        }
    }
    let pause = if closing.is_cancelled() { PAUSE_AT_SHUTDOWN } else { PAUSE };
    linger(stream, pause).await;
}

/// Answers what comes on the connection, and only what has come where the server shuts down.
async fn attend<I, S>(
    mut connection: http1::Connection<TokioIo<I>, S>,
    closing: &CancellationToken,
) -> (I, hyper::Result<()>)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming, ResBody = Body, Error: Into<BoxError>> + Unpin,
    S::Future: Unpin,
{
    let early = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => Some(ended),
        () = closing.cancelled() => None,
    };
    let ended = match early {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    (connection.into_parts().io.into_inner(), ended)
}

/// Says that there is no more to come, and listens until the peer has heard it or says no more
/// itself.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin, pause: Duration) {
    let hear = async {
        stream.shutdown().await?;
        let mut unheard = [0; 16 * 1024];
        while timeout(pause, stream.read(&mut unheard))
            .await
            .is_ok_and(|read| matches!(read, Ok(1..)))
        {}
        io::Result::Ok(())
    };
    // However that ends, the connection is closed next.
    drop(timeout(LINGER, hear).await);
}

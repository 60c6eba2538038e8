//! One connection: HTTP/1.1 requests, and a lingering close that lets the last response arrive.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use http::header::CONNECTION;
use http::{Extensions, HeaderValue};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use portolan_access::Grants;
use portolan_host_facts::connected_user;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::dialect::Dispatch;
use crate::read_body::ReadBody;
use crate::rejections::Cut;
use crate::slots::Slot;
use crate::write_timeout::WriteTimeout;
use crate::{ClientPermit, HttpLimits, HttpState, IdentityPermit, Peer, RequestError};

/// The maximum size of a request's head in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// How long to read and discard what a peer still sends after the last response. Closing earlier
/// would reset the connection, and the peer's kernel would drop the response.
const LINGER: Duration = Duration::from_secs(5);
/// How long such a peer may pause.
const LINGER_PAUSE: Duration = Duration::from_secs(1);
/// How long such a peer may pause during shutdown.
const SHUTDOWN_LINGER_PAUSE: Duration = Duration::from_millis(50);

/// How long the peer of a connection may pause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionTimes {
    pub(crate) head: Duration,
    pub(crate) write: Duration,
}

/// The connection of a request, as an extension of the request. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    connection: Arc<Connection>,
    /// The host of the client: behind a trusted proxy, not that of the peer.
    client: IpAddr,
    /// The identity of the client, if its rights are limited.
    grants: Option<Arc<Grants>>,
}

/// What all requests of a connection share.
#[derive(Debug)]
struct Connection {
    peer: Peer,
    /// The user of this host whose connection it is, once it was asked for.
    user: OnceLock<Option<u32>>,
    state: HttpState,
    shutdown: CancellationToken,
    /// None of a connection that is rejected.
    slot: Option<Arc<Slot>>,
}

/// The body of a response, and the place of its connection until it is sent.
#[derive(Debug)]
struct UntilSent {
    body: Body,
    slot: Arc<Slot>,
}

/// The memory that is reserved for a response. Dropping it gives it back.
#[derive(Debug)]
pub struct ResponsePermit {
    _client: ClientPermit,
    _identity: Option<IdentityPermit>,
}

/// The room for a response without an end. Dropping it gives it back.
#[derive(Debug)]
pub struct StreamPermit {
    _client: ClientPermit,
    _identity: Option<IdentityPermit>,
}

// === impl ConnectionInfo ===

impl ConnectionInfo {
    /// Creates the information that [`serve`](crate::serve) attaches to every request.
    pub fn new(peer: Peer, state: impl Into<HttpState>, shutdown: CancellationToken) -> Self {
        Self::of_slot(peer, state.into(), shutdown, None)
    }

    /// The same, of an admitted connection.
    pub(crate) fn of_slot(
        peer: Peer,
        state: HttpState,
        shutdown: CancellationToken,
        slot: impl Into<Option<Arc<Slot>>>,
    ) -> Self {
        let (client, user, slot) = (peer.host(), OnceLock::new(), slot.into());
        let connection = Arc::new(Connection { peer, user, state, shutdown, slot });
        Self { connection, client, grants: None }
    }

    /// Says that the whole request has arrived.
    pub(crate) fn received(&self) {
        if let Some(slot) = &self.connection.slot {
            slot.received();
        }
    }

    /// Returns a body that says when it is sent.
    fn until_sent(&self, body: Body) -> Body {
        match &self.connection.slot {
            Some(slot) => Body::new(UntilSent { body, slot: Arc::clone(slot) }),
            None => body,
        }
    }

    /// Returns the other end of the connection.
    pub fn peer(&self) -> &Peer {
        &self.connection.peer
    }

    /// Returns the user of this host whose process has made the connection; `None` if it is on another host, or if the system does not
    /// say. It costs a system call the first time.
    pub(crate) fn user(&self) -> Option<u32> {
        *self.connection.user.get_or_init(|| match self.peer() {
            Peer::Unix { uid, .. } => Some(*uid),
            Peer::Tcp { remote, local } | Peer::Certified { remote, local, .. } => {
                connected_user(*remote, (*local)?)
            }
        })
    }

    /// The names in the certificate of the client itself: a proxy's does not count for its clients.
    pub(crate) fn certificate(&self) -> Option<Arc<[String]>> {
        match self.peer() {
            Peer::Certified { names, .. } if !self.state().is_trusted_proxy(self.peer().host()) => {
                Some(Arc::clone(names))
            }
            _ => None,
        }
    }

    /// Returns the limits of the server.
    pub fn limits(&self) -> &HttpLimits {
        self.state().limits()
    }

    /// Reserves memory for a response, until the permit is dropped.
    ///
    /// # Errors
    ///
    /// [`RequestError::NoMemory`] if responses to this client, or to all, take too much; [`RequestError::TooMany`] if those to its
    /// identity do.
    pub fn reserve(&self, bytes: usize) -> Result<ResponsePermit, RequestError> {
        let identities = self.state().identities();
        let identity =
            self.grants.as_deref().map(|grants| identities.reserve(grants, bytes)).transpose()?;
        let client = self.state().clients().reserve(self.client, bytes)?;
        Ok(ResponsePermit { _client: client, _identity: identity.flatten() })
    }

    /// Admits a response without an end, until the permit is dropped.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooMany`] if the client, or its identity, has too many of them.
    pub fn open_stream(&self) -> Result<StreamPermit, RequestError> {
        let identities = self.state().identities();
        let identity =
            self.grants.as_deref().map(|grants| identities.stream(grants)).transpose()?;
        let client =
            self.state().clients().stream(self.client, matches!(self.peer(), Peer::Unix { .. }))?;
        Ok(StreamPermit { _client: client, _identity: identity.flatten() })
    }

    /// The same connection for a request of this identity.
    pub(crate) fn of_identity(&self, grants: &Arc<Grants>) -> Self {
        Self { grants: Some(Arc::clone(grants)), ..self.clone() }
    }

    /// The same connection for a request that this host sends through it.
    pub(crate) fn of_client(&self, client: IpAddr) -> Self {
        Self { client, ..self.clone() }
    }

    pub(crate) fn client(&self) -> IpAddr {
        self.client
    }

    pub(crate) fn state(&self) -> &HttpState {
        &self.connection.state
    }

    /// Returns a token that is cancelled when the server begins to shut down. Responses without an
    /// end must end then.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.connection.shutdown
    }

    pub(crate) fn from_extensions(extensions: &Extensions) -> &Self {
        extensions.get().expect("every request of a dialect has its connection")
    }
}

// === impl UntilSent ===

impl HttpBody for UntilSent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for UntilSent {
    fn drop(&mut self) {
        self.slot.answered();
    }
}

/// Serves the connection until the peer closes it, it is idle for too long, or the server shuts
/// down.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    info: ConnectionInfo,
    times: ConnectionTimes,
    dispatch: Dispatch,
) {
    // Whether a request has begun that has not arrived yet; the first one begins with the connection.
    let arrived = Arc::new(AtomicBool::new(true));
    let (extension, begun) = (info.clone(), Arc::clone(&arrived));
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (mut head, body) = request.into_parts();
        if body.is_end_stream() {
            extension.received();
            if let Some(response) = dispatch.prepared(&head, &extension) {
                begun.store(false, Ordering::Relaxed);
                return Either::Left(ready(Ok(response.map(|body| extension.until_sent(body)))));
            }
        }
        head.extensions.insert(extension.clone());
        let (body, is_read) = ReadBody::track(body);
        let (dispatch, connection) = (dispatch.clone(), extension.clone());
        let begun = Arc::clone(&begun);
        Either::Right(Box::pin(async move {
            let mut response = dispatch.respond(http::Request::from_parts(head, body)).await;
            begun.store(false, Ordering::Relaxed);
            if is_read.is_some_and(|it| !it.load(Ordering::Relaxed)) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| connection.until_sent(body)))
        }))
    });
    let io = TokioIo::new(WriteTimeout::new(stream, times.write, Arc::clone(&arrived)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(times.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(io, service);
    let (stream, result) = drive(connection, info.shutdown()).await;
    if let Err(error) = result {
        debug!(peer = %info.peer(), %error, "Connection failed");
        if let Some(cut) = Cut::failed(&error, arrived.load(Ordering::Relaxed)) {
            info.state().cut(info.peer(), cut, None);
        }
        // After a head timeout no response is on its way that a linger could save.
        if error.is_timeout() {
            return;
        }
    }
    let shutting_down = info.shutdown().is_cancelled();
    linger(stream, if shutting_down { SHUTDOWN_LINGER_PAUSE } else { LINGER_PAUSE }).await;
}

/// Runs the connection to its end; during shutdown, to the end of the request in progress.
async fn drive<I, S>(
    mut connection: http1::Connection<TokioIo<I>, S>,
    shutdown: &CancellationToken,
) -> (I, hyper::Result<()>)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming, ResBody = Body, Error: Into<BoxError>> + Unpin,
    S::Future: Unpin,
{
    let ended = tokio::select! {
        result = poll_fn(|context| connection.poll_without_shutdown(context)) => Some(result),
        () = shutdown.cancelled() => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    (connection.into_parts().io.into_inner(), result)
}

/// Closes the write half, then discards input until the peer closes or pauses.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin, pause: Duration) {
    let discard = async {
        stream.shutdown().await?;
        // Not part of the future, because that takes its memory as long as the connection is open.
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(Ok(1..)) = timeout(pause, stream.read(&mut buffer)).await {}
        io::Result::Ok(())
    };
    // The connection is closed next, whatever the result.
    drop(timeout(LINGER, discard).await);
}

//! The accept loop: connection limit, overload responses and graceful shutdown.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::connection::ConnectionTimes;
use crate::dialect::Dispatch;
use crate::rejections::Cut;
use crate::slots::Slots;
use crate::{
    ConnectionInfo, Dialect, HttpLimits, HttpState, Listener, Peer, RequestError, connection,
};

/// How many connections beyond the limit are answered with 503 at the same time. Others are closed
/// without a response.
const REJECT_CONNECTIONS: usize = 64;
/// How long a rejected connection may take to send its request and read the response.
const REJECT_TIMEOUT: Duration = Duration::from_secs(1);
const REJECT_TIMES: ConnectionTimes =
    ConnectionTimes { head: REJECT_TIMEOUT, write: REJECT_TIMEOUT };
/// How long to wait if the system has no resources for another connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Why a server stopped before its shutdown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener failed permanently. Retry with a new listener.
    #[error("the listener cannot accept connections: {source}")]
    Accept {
        /// The error of accept(2).
        #[source]
        source: io::Error,
    },
}

/// Serves the dialects on the listener until `shutdown` completes. Then it accepts no more
/// connections, [`ConnectionInfo::shutdown`] is cancelled, and requests in progress have
/// [`HttpLimits::drain`] to end; connections that are still open after that are cut.
///
/// # Errors
///
/// [`ServeError`] if the listener fails permanently. The requests in progress are drained first.
pub async fn serve(
    mut listener: impl Listener,
    dialects: impl IntoIterator<Item = Dialect>,
    state: impl Into<HttpState> + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let dialects: Vec<_> = dialects.into_iter().collect();
    let mut shutdown = pin!(shutdown);
    let mut connections = Connections::new(&dialects, state.into());
    let result = loop {
        tokio::select! {
            () = &mut shutdown => break Ok(()),
            Some(ended) = connections.tasks.join_next() => log_end(ended),
            accepted = listener.accept() => match accepted {
                Ok((peer, handshake)) => connections.admit(peer, handshake),
                Err(error) => if let Err(error) = on_accept_error(error).await {
                    break Err(error);
                },
            },
        }
    };
    drop(listener);
    connections.drain().await;
    result
}

/// The open connections, each a task with a slot, or with a permit to be rejected.
struct Connections {
    tasks: JoinSet<()>,
    slots: Arc<Slots>,
    reject_permits: Arc<Semaphore>,
    dispatch: Dispatch,
    overloaded: Dispatch,
    /// Answers the connections of a client that has too many.
    crowded: Dispatch,
    state: HttpState,
    shutdown: CancellationToken,
}

// === impl Connections ===

impl Connections {
    fn new(dialects: &[Dialect], state: HttpState) -> Self {
        let limits = state.limits();
        let overloaded = RequestError::Overloaded { limit: limits.connections };
        let crowded = state.clients().crowded();
        Self {
            tasks: JoinSet::new(),
            slots: Arc::new(Slots::new(limits.connections)),
            reject_permits: Arc::new(Semaphore::new(REJECT_CONNECTIONS)),
            dispatch: Dispatch::new(dialects, limits),
            overloaded: Dispatch::rejecting(dialects, limits, &overloaded),
            crowded: Dispatch::rejecting(dialects, limits, &crowded),
            state,
            shutdown: CancellationToken::new(),
        }
    }

    /// Serves the connection, or rejects it. That is decided before the handshake, so that one that never ends counts too.
    fn admit<I, H>(&mut self, peer: Peer, handshake: H)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Future<Output = io::Result<(I, Peer)>> + Send + 'static,
    {
        let host = peer.host();
        // A proxy has the connections of many clients.
        let is_proxy = self.state.is_trusted_proxy(host);
        let of_client = if is_proxy { None } else { self.state.clients().connect(host) };
        if of_client.is_none() && !is_proxy {
            let crowded = self.crowded.clone();
            return self.reject(peer, handshake, crowded, Cut::ConnectionsOfClient);
        }
        let Some(slot) = self.slots.admit() else {
            warn!(limit = self.state.limits().connections, "Connection limit reached");
            let overloaded = self.overloaded.clone();
            return self.reject(peer, handshake, overloaded, Cut::Connections);
        };
        let HttpLimits { head, write, .. } = *self.state.limits();
        let times = ConnectionTimes { head, write };
        let (dispatch, state) = (self.dispatch.clone(), self.state.clone());
        // A token of its own: all connections, each time they wait, would take turns at the lock of one.
        let shutdown = self.shutdown.child_token();
        let (own, remote) = (Arc::clone(&slot), peer.clone());
        // Boxed, so that the task has it once.
        let connection = Box::pin(async move {
            let Some((stream, peer)) = shake_hands(&remote, handshake, head, &state).await else {
                return;
            };
            let info = ConnectionInfo::of_slot(peer, state, shutdown, own);
            connection::serve(stream, info, times, dispatch).await;
        });
        let state = self.state.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = slot.evicted() => state.cut(&peer, Cut::evicted(&slot), None),
            }
            drop(of_client);
        });
    }

    /// Answers the connection with an error if only a few are being answered so, else closes it.
    fn reject<I, H>(&mut self, peer: Peer, handshake: H, answer: Dispatch, otherwise: Cut)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Future<Output = io::Result<(I, Peer)>> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.reject_permits).try_acquire_owned() else {
            return self.state.cut(&peer, otherwise, None);
        };
        let (state, shutdown) = (self.state.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            let ready = shake_hands(&peer, handshake, REJECT_TIMEOUT, &state).await;
            if let Some((stream, peer)) = ready {
                let info = ConnectionInfo::new(peer, state, shutdown);
                connection::serve(stream, info, REJECT_TIMES, answer).await;
            }
            drop(permit);
        });
    }

    async fn drain(mut self) {
        self.shutdown.cancel();
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                log_end(ended);
            }
        };
        if timeout(self.state.limits().drain, all_ended).await.is_err() {
            warn!(open = self.tasks.len(), "Connections cut at shutdown");
            self.tasks.shutdown().await;
        }
    }
}

/// Makes a connection ready for HTTP within the limit.
async fn shake_hands<I>(
    peer: &Peer,
    handshake: impl Future<Output = io::Result<(I, Peer)>>,
    limit: Duration,
    state: &HttpState,
) -> Option<(I, Peer)> {
    match timeout(limit, handshake).await {
        Ok(Ok(ready)) => return Some(ready),
        // Other errors are those of a peer that went away.
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            state.cut(peer, Cut::Handshake, Some(&error));
        }
        Ok(Err(error)) => debug!(%peer, %error, "Handshake failed"),
        Err(_) => state.cut(peer, Cut::SlowHead, None),
    }
    None
}

fn log_end(ended: Result<(), JoinError>) {
    match ended {
        Err(failure) if failure.is_panic() => error!(error = %failure, "Connection task panicked"),
        _ => debug!("Connection closed"),
    }
}

/// Ignores errors of a single connection, backs off if resources are exhausted, and returns
/// permanent errors.
async fn on_accept_error(error: io::Error) -> Result<(), ServeError> {
    use io::ErrorKind as K;
    match error.kind() {
        K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted => Ok(()),
        K::InvalidInput | K::NotConnected | K::Unsupported => {
            Err(ServeError::Accept { source: error })
        }
        _ => {
            warn!(%error, "Accept failed, backing off");
            sleep(ACCEPT_BACKOFF).await;
            Ok(())
        }
    }
}

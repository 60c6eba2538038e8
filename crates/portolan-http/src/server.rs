//! The accept loop: connection limit, overload responses and graceful shutdown.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::connection::ConnectionTimes;
use crate::dialect::Dispatch;
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
                Ok(handshake) => connections.admit(handshake),
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

/// The open connections, each a task with a permit.
struct Connections {
    tasks: JoinSet<()>,
    permits: Arc<Semaphore>,
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
            permits: Arc::new(Semaphore::new(limits.connections)),
            reject_permits: Arc::new(Semaphore::new(REJECT_CONNECTIONS)),
            dispatch: Dispatch::new(dialects, limits),
            overloaded: Dispatch::rejecting(dialects, limits, &overloaded),
            crowded: Dispatch::rejecting(dialects, limits, &crowded),
            state,
            shutdown: CancellationToken::new(),
        }
    }

    fn admit<I, H>(&mut self, handshake: H)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Future<Output = io::Result<(I, Peer)>> + Send + 'static,
    {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            let HttpLimits { head, write, .. } = *self.state.limits();
            self.spawn(
                handshake,
                Some(self.dispatch.clone()),
                ConnectionTimes { head, write },
                permit,
            );
        } else if let Ok(permit) = Arc::clone(&self.reject_permits).try_acquire_owned() {
            warn!(limit = self.state.limits().connections, "Connection limit reached");
            let times = REJECT_TIMES;
            self.spawn(handshake, None, times, permit);
        } else {
            self.state.metrics().http_rejected("connections");
        }
    }

    fn spawn<I, H>(
        &mut self,
        handshake: H,
        dispatch: Option<Dispatch>,
        times: ConnectionTimes,
        permit: OwnedSemaphorePermit,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Future<Output = io::Result<(I, Peer)>> + Send + 'static,
    {
        let (shutdown, state) = (self.shutdown.clone(), self.state.clone());
        let (overloaded, crowded) = (self.overloaded.clone(), self.crowded.clone());
        let reject_permits = Arc::clone(&self.reject_permits);
        self.tasks.spawn(async move {
            match timeout(times.head, handshake).await {
                Ok(Ok((stream, peer))) => {
                    let host = peer.host();
                    let info = ConnectionInfo::new(peer, state.clone(), shutdown);
                    let Some(dispatch) = dispatch else {
                        return connection::serve(stream, info, times, overloaded).await;
                    };
                    // A proxy has the connections of many clients.
                    let of_client = match state.is_trusted_proxy(host) {
                        true => None,
                        false => match state.clients().connect(host) {
                            Some(of_client) => Some(of_client),
                            None => {
                                drop(permit);
                                // Without a permit it is closed without a response.
                                let Ok(_permit) = reject_permits.try_acquire() else {
                                    return state.metrics().http_rejected("connections_of_client");
                                };
                                return connection::serve(stream, info, REJECT_TIMES, crowded)
                                    .await;
                            }
                        },
                    };
                    connection::serve(stream, info, times, dispatch).await;
                    drop(of_client);
                }
                Ok(Err(error)) => debug!(%error, "Handshake failed"),
                Err(_) => debug!(limit = ?times.head, "Handshake timed out"),
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

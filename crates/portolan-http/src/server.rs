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

use crate::dialect::Dispatch;
use crate::{ConnectionInfo, Dialect, HttpLimits, Listener, Peer, connection};

/// How many connections beyond the limit are answered with 503 at the same time. Others are closed
/// without a response.
const REJECT_CONNECTIONS: usize = 64;
/// How long a rejected connection may take to send its request and read the response.
const REJECT_TIMEOUT: Duration = Duration::from_secs(1);
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
    limits: HttpLimits,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let dialects: Vec<_> = dialects.into_iter().collect();
    let mut shutdown = pin!(shutdown);
    let mut connections = Connections::new(&dialects, limits);
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
    limits: Arc<HttpLimits>,
    reject_limits: Arc<HttpLimits>,
    shutdown: CancellationToken,
}

// === impl Connections ===

impl Connections {
    fn new(dialects: &[Dialect], limits: HttpLimits) -> Self {
        let reject_limits =
            HttpLimits { head: REJECT_TIMEOUT, write: REJECT_TIMEOUT, ..limits.clone() };
        Self {
            tasks: JoinSet::new(),
            permits: Arc::new(Semaphore::new(limits.connections)),
            reject_permits: Arc::new(Semaphore::new(REJECT_CONNECTIONS)),
            dispatch: Dispatch::new(dialects, &limits),
            overloaded: Dispatch::overloaded(dialects, &limits),
            limits: Arc::new(limits),
            reject_limits: Arc::new(reject_limits),
            shutdown: CancellationToken::new(),
        }
    }

    fn admit<I, H>(&mut self, handshake: H)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Future<Output = io::Result<(I, Peer)>> + Send + 'static,
    {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            self.spawn(handshake, self.dispatch.clone(), Arc::clone(&self.limits), permit);
        } else if let Ok(permit) = Arc::clone(&self.reject_permits).try_acquire_owned() {
            warn!(limit = self.limits.connections, "Connection limit reached");
            let limits = Arc::clone(&self.reject_limits);
            self.spawn(handshake, self.overloaded.clone(), limits, permit);
        }
    }

    fn spawn<I, H>(
        &mut self,
        handshake: H,
        dispatch: Dispatch,
        limits: Arc<HttpLimits>,
        permit: OwnedSemaphorePermit,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Future<Output = io::Result<(I, Peer)>> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            match timeout(limits.head, handshake).await {
                Ok(Ok((stream, peer))) => {
                    let info = ConnectionInfo::new(peer, limits, shutdown);
                    connection::serve(stream, info, dispatch).await;
                }
                Ok(Err(error)) => debug!(%error, "Handshake failed"),
                Err(_) => debug!(limit = ?limits.head, "Handshake timed out"),
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
        if timeout(self.limits.drain, all_ended).await.is_err() {
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

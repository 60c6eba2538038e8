//! The accept loop: who gets in, and how everybody gets out.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::problem::{Kind, Problem};
use crate::{Api, Limits, connection, routes};

/// How many connections beyond the limit are told so at once; the rest are closed without a word.
const TURNED_AWAY: usize = 64;
/// How long to wait where the system has no room for another connection.
const OUT_OF_ROOM: Duration = Duration::from_millis(100);
/// How long one that is turned away may take to hear it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why the API is served no longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener takes no more connections. Bind another one.
    #[error("no connection can be taken any more: {source}; bind the port again")]
    Accept {
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Serves the API until the shutdown. Then nobody is let in, watches end at once, and requests
/// that are under way have [`Limits::drain`] to end; what is open after that is cut.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let mut shutdown = pin!(shutdown);
    let mut hall = Hall::new(&api);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(left) = hall.guests.join_next() => note(left),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => hall.admit(stream, peer),
                Err(error) => bear(error).await?,
            },
        }
    }
    drop(listener);
    hall.close().await;
    Ok(())
}

/// The connections that are open.
struct Hall {
    guests: JoinSet<()>,
    seats: Arc<Semaphore>,
    doorstep: Arc<Semaphore>,
    router: Router,
    farewell: Router,
    limits: Limits,
    closing: CancellationToken,
}

// === impl Hall ===

impl Hall {
    fn new(api: &Api) -> Self {
        let limits = api.bounds().clone();
        Self {
            guests: JoinSet::new(),
            seats: Arc::new(Semaphore::new(limits.connections)),
            doorstep: Arc::new(Semaphore::new(TURNED_AWAY)),
            router: routes::router(api),
            farewell: farewell(limits.connections),
            limits,
            closing: CancellationToken::new(),
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        if let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() {
            self.seat(stream, peer, self.router.clone(), self.limits.clone(), seat);
        } else if let Ok(step) = Arc::clone(&self.doorstep).try_acquire_owned() {
            warn!(%peer, limit = self.limits.connections, "Too many connections");
            let limits = Limits { head: FAREWELL, write: FAREWELL, ..self.limits.clone() };
            self.seat(stream, peer, self.farewell.clone(), limits, step);
        }
    }

    fn seat(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        router: Router,
        limits: Limits,
        permit: OwnedSemaphorePermit,
    ) {
        let closing = self.closing.clone();
        self.guests.spawn(async move {
            connection::serve(stream, peer, router, limits, closing).await;
            drop(permit);
        });
    }

    async fn close(mut self) {
        self.closing.cancel();
        let leave = async {
            while let Some(left) = self.guests.join_next().await {
                note(left);
            }
        };
        if timeout(self.limits.drain, leave).await.is_err() {
            warn!(open = self.guests.len(), "Connections cut at shutdown");
            self.guests.shutdown().await;
        }
    }
}

/// What those hear for whom there is no seat.
fn farewell(limit: usize) -> Router {
    let answer = async move || {
        let detail = format!(
            "all {limit} connections of this registry are taken; try again, and close connections that you do not use"
        );
        Problem::new(Kind::TooManyConnections, detail)
    };
    Router::new().fallback(answer)
}

fn note(left: Result<(), JoinError>) {
    match left {
        Err(failure) if failure.is_panic() => error!(error = %failure, "A connection panicked"),
        _ => debug!("Connection closed"),
    }
}

/// Goes on after what concerns one connection only, or passes with time.
async fn bear(error: io::Error) -> Result<(), ServeError> {
    use io::ErrorKind as K;
    match error.kind() {
        K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted => {}
        K::InvalidInput | K::NotConnected | K::Unsupported => {
            return Err(ServeError::Accept { source: error });
        }
        _ => {
            warn!(%error, "No room for another connection");
            sleep(OUT_OF_ROOM).await;
        }
    }
    Ok(())
}

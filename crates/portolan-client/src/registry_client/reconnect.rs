//! Watches on through lost connections.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use portolan_core::ServiceEvent;
use rand::RngExt;
use tokio::time::sleep;

use super::{RegistryClient, RegistryClientError, RegistryWatch, WatchRequest};

/// How long to wait before the first attempt to connect again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait between two attempts: a registry that comes back is noticed within this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A stream of changes that connects again by itself.
///
/// An error tells that the connection was lost or not made; the stream goes on after it, unless
/// waiting cannot help (see [`RegistryClientError::NotPermitted`]): then it ends. What happened in between
/// follows once connected, or a snapshot where the registry no longer keeps that history.
pub struct ReconnectingWatch(BoxStream<'static, Result<ServiceEvent, RegistryClientError>>);

/// What the watch has to tell, the connection itself included.
#[derive(Debug)]
pub(crate) enum ConnectionEvent {
    /// The registry answers; changes follow.
    Connected,
    /// A change.
    Event(ServiceEvent),
    /// The connection is lost, or could not be made.
    Lost(RegistryClientError),
}

/// [`ConnectionEvent`], without end unless waiting cannot help.
pub(crate) type ConnectionEvents = BoxStream<'static, ConnectionEvent>;

struct Watcher {
    client: RegistryClient,
    query: WatchRequest,
    live: Option<RegistryWatch>,
    wait: Duration,
    over: bool,
}

// === impl ReconnectingWatch ===

impl ReconnectingWatch {
    pub(super) fn new(client: RegistryClient, query: WatchRequest) -> Self {
        let told = |news| {
            future::ready(match news {
                ConnectionEvent::Connected => None,
                ConnectionEvent::Event(event) => Some(Ok(event)),
                ConnectionEvent::Lost(error) => Some(Err(error)),
            })
        };
        Self(Self::news(client, query).filter_map(told).boxed())
    }

    /// The same, the connection's own news included.
    pub(crate) fn news(client: RegistryClient, query: WatchRequest) -> ConnectionEvents {
        let wait = Duration::ZERO;
        let watcher = Watcher { client, query, live: None, wait, over: false };
        let news = stream::unfold(watcher, |mut watcher| async move {
            let news = watcher.next().await?;
            Some((news, watcher))
        });
        news.boxed()
    }
}

impl Stream for ReconnectingWatch {
    type Item = Result<ServiceEvent, RegistryClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for ReconnectingWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconnectingWatch").finish_non_exhaustive()
    }
}

// === impl Watcher ===

impl Watcher {
    async fn next(&mut self) -> Option<ConnectionEvent> {
        if self.over {
            return None;
        }
        let Some(watch) = &mut self.live else { return Some(self.connect().await) };
        loop {
            match watch.next().await {
                Some(Ok(mut event)) => {
                    self.wait = Duration::ZERO;
                    self.query.from = Some(event.revision);
                    if self.query.wants(&mut event) {
                        return Some(ConnectionEvent::Event(event));
                    }
                }
                Some(Err(error)) => return Some(self.lost(error)),
                None => {
                    let url = self.client.url();
                    let error =
                        RegistryClientError::unreachable(url, "the registry ended the watch");
                    return Some(self.lost(error));
                }
            }
        }
    }

    async fn connect(&mut self) -> ConnectionEvent {
        sleep(with_jitter(self.wait)).await;
        match self.client.watch(&self.query).await {
            Ok(watch) => {
                self.live = Some(watch);
                ConnectionEvent::Connected
            }
            Err(error) => self.lost(error),
        }
    }

    fn lost(&mut self, error: RegistryClientError) -> ConnectionEvent {
        self.live = None;
        self.wait = (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        match &error {
            // What could not be read once cannot be read again: begin anew, with a snapshot.
            RegistryClientError::BadAnswer { .. } => self.query.from = None,
            error => self.over = !error.is_temporary(),
        }
        ConnectionEvent::Lost(error)
    }
}

/// Half of it to all of it, so that not everybody comes back at the same moment.
fn with_jitter(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.5..=1.0))
}

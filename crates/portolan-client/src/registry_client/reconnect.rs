//! A watch of the registry that reconnects.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use portolan_core::{Backoff, ServiceEvent};
use tokio::time::{Instant, sleep};

use super::client::RegistryClient;
use super::error::RegistryClientError;
use super::query::WatchRequest;
use super::watch::{Received, RegistryWatch};

/// The wait before the first reconnect.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait between two attempts, and so the longest time until a restarted registry is
/// noticed.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The share by which a wait is shortened at random, so that clients do not reconnect together.
const JITTER: f64 = 0.5;

/// A stream of changes that reconnects after a lost connection.
///
/// An error item reports that the connection was lost or not established. The stream continues after
/// it, unless waiting cannot help (see [`RegistryClientError::NotPermitted`]). The changes in between
/// follow after the reconnect, or a snapshot if the registry has discarded that history.
pub struct ReconnectingWatch(BoxStream<'static, Result<ServiceEvent, RegistryClientError>>);

/// An item of a watch, including the state of the connection.
#[derive(Debug)]
pub(crate) enum ConnectionEvent {
    /// The connection is established; changes follow.
    Connected,
    /// A change.
    Event(ServiceEvent),
    /// The connection is lost or could not be established.
    Lost(RegistryClientError),
}

/// A stream of [`ConnectionEvent`]s, which ends only if waiting cannot help.
pub(crate) type ConnectionEvents = BoxStream<'static, ConnectionEvent>;

struct Watcher {
    client: RegistryClient,
    query: WatchRequest,
    live: Option<RegistryWatch>,
    backoff: Backoff,
    /// When the connection was established.
    connected: Instant,
    reconnecting: bool,
    over: bool,
}

// === impl RegistryClient ===

impl RegistryClient {
    /// Watches services and reconnects whenever the connection is lost. The watch resumes after the
    /// last revision that was received.
    pub fn watch_reconnecting(&self, query: WatchRequest) -> ReconnectingWatch {
        ReconnectingWatch::new(self.clone(), query)
    }
}

// === impl ReconnectingWatch ===

impl ReconnectingWatch {
    fn new(client: RegistryClient, query: WatchRequest) -> Self {
        let item = |event| {
            future::ready(match event {
                ConnectionEvent::Connected => None,
                ConnectionEvent::Event(event) => Some(Ok(event)),
                ConnectionEvent::Lost(error) => Some(Err(error)),
            })
        };
        Self(Self::connection_events(client, query).filter_map(item).boxed())
    }

    /// Returns the same stream with the state of the connection.
    pub(crate) fn connection_events(
        client: RegistryClient,
        query: WatchRequest,
    ) -> ConnectionEvents {
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT).jitter(JITTER);
        let connected = Instant::now();
        let watcher = Watcher {
            client,
            query,
            live: None,
            backoff,
            connected,
            reconnecting: false,
            over: false,
        };
        let events = stream::unfold(watcher, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((event, watcher))
        });
        events.boxed()
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
            match watch.receive().await {
                Some(Ok(Received::Nothing(revision))) => {
                    self.query.from = Some(revision);
                }
                Some(Ok(Received::Event(mut event))) => {
                    self.query.from = Some(event.revision);
                    if self.query.matches(&mut event) {
                        return Some(ConnectionEvent::Event(event));
                    }
                }
                Some(Err(error)) => return Some(self.lost(error)),
                None => {
                    let url = self.client.url();
                    let error =
                        RegistryClientError::unreachable(&url, "the registry ended the watch");
                    return Some(self.lost(error));
                }
            }
        }
    }

    async fn connect(&mut self) -> ConnectionEvent {
        if self.reconnecting {
            sleep(self.backoff.next_wait()).await;
        }
        match self.client.watch(&self.query).await {
            Ok(watch) => {
                self.live = Some(watch);
                self.connected = Instant::now();
                ConnectionEvent::Connected
            }
            Err(error) => self.lost(error),
        }
    }

    fn lost(&mut self, error: RegistryClientError) -> ConnectionEvent {
        // A server that answers and ends each watch at once must not be asked again at once.
        if self.live.take().is_some() && self.connected.elapsed() >= LONGEST_WAIT {
            self.backoff.reset();
        }
        self.reconnecting = true;
        match &error {
            // An event that cannot be read would fail again: restart with a snapshot.
            RegistryClientError::BadAnswer { .. } => self.query.from = None,
            error => self.over = !error.is_temporary(),
        }
        ConnectionEvent::Lost(error)
    }
}

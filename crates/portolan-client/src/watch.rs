//! A watch of services: a snapshot, then the changes, from the registry or the broadcast channel.
//!
//! The registry reports changes in order and lets a watch resume. While it can be reached, it is the
//! only source. The broadcast channel takes over once the registry has been unreachable for a while.

mod seen;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use portolan_broadcast::{Broadcaster, PeerEvents, QueryMode};
use portolan_core::{Change, Revision, ServiceEndpoint, ServiceEvent, ServiceName};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};

use crate::error::DiscoverError;
use crate::feeds::Feeds;
use crate::registry_client::{ConnectionEvent, ConnectionEvents, RegistryClientError};

use seen::SeenEndpoints;

/// How long the registry may be unreachable before the broadcast channel takes over. A registry that
/// is back by then reports every change itself, in order.
const GRACE: Duration = Duration::from_secs(1);
/// How long answers to the query are collected when the channel takes over.
const GATHER: Duration = Duration::from_secs(1);
/// The maximum number of events buffered during the grace period; the oldest are dropped first.
const MAX_BUFFERED: usize = 1_000;

/// A stream of the changes of one service or of all. It starts with a snapshot, and ends when the
/// client closes or no source of changes is left.
pub struct ServiceWatch(BoxStream<'static, ServiceEvent>);

struct Watcher {
    feeds: Feeds,
    /// Keeps the client alive as long as the watch.
    _guard: Arc<DropGuard>,
    name: Option<ServiceName>,
    registry: Option<ConnectionEvents>,
    channel: Option<(Broadcaster, PeerEvents)>,
    fallback: Fallback,
    /// Whether the registry was connected and its connection is lost.
    lost: bool,
    seen: SeenEndpoints,
    /// The events to return next.
    ready: VecDeque<ServiceEvent>,
}

/// Whether the watch falls back on the broadcast channel.
enum Fallback {
    /// No: the registry is connected, and announcements are ignored.
    Ignoring,
    /// Not yet: announcements are buffered until the registry is back or the grace period ends.
    Buffering { until: Instant, events: VecDeque<ServiceEvent> },
    /// Yes: announcements are applied.
    Active,
}

// === impl ServiceWatch ===

impl ServiceWatch {
    pub(crate) async fn open(
        feeds: Feeds,
        name: Option<ServiceName>,
        closed: CancellationToken,
        guard: Arc<DropGuard>,
    ) -> Result<Self, DiscoverError> {
        let watcher = Watcher::open(feeds, name, guard).await?;
        let events = stream::unfold(watcher, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((event, watcher))
        });
        Ok(Self(events.take_until(closed.cancelled_owned()).boxed()))
    }
}

impl Stream for ServiceWatch {
    type Item = ServiceEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ServiceEvent>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for ServiceWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceWatch").finish_non_exhaustive()
    }
}

// === impl Watcher ===

impl Watcher {
    async fn open(
        feeds: Feeds,
        name: Option<ServiceName>,
        guard: Arc<DropGuard>,
    ) -> Result<Self, DiscoverError> {
        let registry = feeds.watch_registry(name.iter().cloned().collect());
        let channel = feeds.broadcaster().await.map(|broadcaster| {
            let announced = broadcaster.watch_peers();
            (broadcaster, announced)
        });
        if registry.is_none() && channel.is_none() {
            return Err(DiscoverError::NothingToWatch);
        }
        let grace = if registry.is_some() { GRACE } else { Duration::ZERO };
        let fallback = Fallback::buffering(grace);
        let (seen, ready) = (SeenEndpoints::default(), VecDeque::new());
        Ok(Self {
            feeds,
            _guard: guard,
            name,
            registry,
            channel,
            fallback,
            lost: false,
            seen,
            ready,
        })
    }

    async fn next(&mut self) -> Option<ServiceEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.registry.is_none() && self.channel.is_none() {
                return None;
            }
            tokio::select! {
                // The registry takes precedence over announcements of the same change.
                biased;
                event = next_of(self.registry.as_mut()) => self.on_registry(event),
                event = next_of(self.channel.as_mut().map(|(_, announced)| announced)) => {
                    self.on_announcement(event);
                }
                () = grace_over(&self.fallback), if self.channel.is_some() => {
                    self.switch_to_channel().await;
                }
            }
        }
    }

    fn on_registry(&mut self, event: Option<ConnectionEvent>) {
        match event {
            Some(ConnectionEvent::Connected) => {
                self.fallback = Fallback::Ignoring;
                if std::mem::take(&mut self.lost) {
                    info!("Registry watch connected again");
                }
            }
            Some(ConnectionEvent::Event(event)) => self.ready.extend(self.seen.apply(event)),
            Some(ConnectionEvent::Lost(error)) => self.on_lost(&error),
            None => self.registry = None,
        }
    }

    fn on_lost(&mut self, error: &RegistryClientError) {
        if matches!(self.fallback, Fallback::Ignoring) {
            self.fallback = Fallback::buffering(GRACE);
            self.lost = true;
            if error.is_temporary() {
                warn!(%error, "Registry watch lost, reconnecting");
            }
        } else {
            debug!(%error, "Registry watch still lost");
        }
        if !error.is_temporary() {
            warn!(%error, "Registry watch ended");
        }
    }

    fn on_announcement(&mut self, event: Option<ServiceEvent>) {
        let Some(event) = event else {
            self.channel = None;
            return;
        };
        match &mut self.fallback {
            Fallback::Ignoring => {}
            Fallback::Buffering { events, .. } => {
                if events.len() == MAX_BUFFERED {
                    events.pop_front();
                }
                events.push_back(event);
            }
            Fallback::Active => self.announce(event),
        }
    }

    /// Takes the broadcast channel as the source, after a query for the instances that exist now.
    async fn switch_to_channel(&mut self) {
        let buffered = match std::mem::replace(&mut self.fallback, Fallback::Active) {
            Fallback::Buffering { events, .. } => events,
            Fallback::Ignoring | Fallback::Active => VecDeque::new(),
        };
        let Some((broadcaster, _)) = &self.channel else { return };
        warn!(
            registry_url = self.feeds.registry_url(),
            "Registry unreachable, watching the broadcast channel"
        );
        let (name, scopes) = (self.name.as_ref(), self.feeds.scopes());
        let answers = broadcaster.query(name, scopes, GATHER, QueryMode::All).await;
        let answers = answers.unwrap_or_else(|error| {
            debug!(%error, "Broadcast query failed");
            Vec::new()
        });
        // The buffered events are older than the answers.
        buffered.into_iter().for_each(|event| self.announce(event));
        for endpoint in answers {
            self.announce(registered(Arc::new(endpoint)));
        }
        if !self.seen.has_snapshot() {
            self.ready.clear();
            self.ready.push_back(self.seen.snapshot());
        }
    }

    fn announce(&mut self, event: ServiceEvent) {
        // A snapshot of the channel is not complete: its endpoints count as additions.
        let events = match event.change {
            Change::Snapshot { endpoints, .. } => endpoints.into_iter().map(registered).collect(),
            change => vec![ServiceEvent { revision: Revision::default(), change }],
        };
        for event in events {
            if event.change.endpoint().is_some_and(|endpoint| self.wants(endpoint)) {
                self.ready.extend(self.seen.apply(event));
            }
        }
    }

    fn wants(&self, endpoint: &ServiceEndpoint) -> bool {
        self.name.as_ref().is_none_or(|name| *name == endpoint.name)
            && self.feeds.rank(endpoint).is_some()
    }
}

// === impl Fallback ===

impl Fallback {
    fn buffering(grace: Duration) -> Self {
        Self::Buffering { until: Instant::now() + grace, events: VecDeque::new() }
    }
}

fn registered(endpoint: Arc<ServiceEndpoint>) -> ServiceEvent {
    let change = Change::Registered { endpoint };
    ServiceEvent { revision: Revision::default(), change }
}

/// Returns the next item, or waits forever without a stream.
async fn next_of<S: Stream + Unpin>(stream: Option<&mut S>) -> Option<S::Item> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

async fn grace_over(fallback: &Fallback) {
    match fallback {
        Fallback::Buffering { until, .. } => sleep_until(*until).await,
        Fallback::Ignoring | Fallback::Active => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

//! The instances of a service and their changes, from whoever tells them.
//!
//! The registry tells them in order and lets a watch resume; so while it can be reached it is
//! believed alone, and what the broadcast channel says counts only once the registry has been
//! gone for a while.

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
use tracing::{debug, warn};

use crate::client::DiscoveryClient;
use crate::registry_client::{ConnectionEvent, ConnectionEvents, ReconnectingWatch, WatchRequest};
use crate::strategies::registry;
use crate::{DiscoverError, RegistryClientError};

use seen::SeenEndpoints;

/// How long the registry may be gone before the broadcast channel is believed: a registry that is
/// back by then tells everything itself, in order.
const GRACE: Duration = Duration::from_secs(1);
/// How long to wait for answers on the channel when it is turned to.
const GATHER: Duration = Duration::from_secs(1);
/// How many events heard are kept during the grace; beyond that the oldest go.
const MAX_HELD: usize = 1_000;

/// A stream of the changes of one service, or of all. It begins with a snapshot, and ends when
/// the client is closed or nobody is left who could tell of changes.
pub struct ServiceWatch(BoxStream<'static, ServiceEvent>);

struct Watcher {
    /// Keeps the client alive as long as the watch.
    client: DiscoveryClient,
    name: Option<ServiceName>,
    registry: Option<ConnectionEvents>,
    channel: Option<(Broadcaster, PeerEvents)>,
    fallback: Fallback,
    seen: SeenEndpoints,
    /// What is still to be told.
    ready: VecDeque<ServiceEvent>,
}

/// What the broadcast channel counts for.
enum Fallback {
    /// Nothing: the registry tells.
    Ignoring,
    /// It counts if the registry is not back by then.
    Buffering { until: Instant, events: VecDeque<ServiceEvent> },
    /// Everything: there is nobody else.
    Active,
}

// === impl ServiceWatch ===

impl ServiceWatch {
    pub(crate) async fn open(
        client: DiscoveryClient,
        name: Option<ServiceName>,
    ) -> Result<Self, DiscoverError> {
        let watcher = Watcher::open(client, name).await?;
        let closed = watcher.client.closed().clone();
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
        client: DiscoveryClient,
        name: Option<ServiceName>,
    ) -> Result<Self, DiscoverError> {
        let deps = client.deps();
        let registry = deps.asks(&registry::KIND).then(|| {
            let (names, scopes) = (name.iter().cloned().collect(), deps.scopes.clone());
            let query = WatchRequest { names, scopes, from: None };
            ReconnectingWatch::news(deps.registry.clone(), query)
        });
        let channel = deps.listening_broadcaster().await.map(|broadcaster| {
            let heard = broadcaster.watch_peers();
            (broadcaster, heard)
        });
        if registry.is_none() && channel.is_none() {
            return Err(DiscoverError::NothingToWatch);
        }
        let grace = if registry.is_some() { GRACE } else { Duration::ZERO };
        let fallback = Fallback::held(grace);
        let (seen, ready) = (SeenEndpoints::default(), VecDeque::new());
        Ok(Self { client, name, registry, channel, fallback, seen, ready })
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
                // What the registry says goes before what is heard of the same.
                biased;
                news = next_of(self.registry.as_mut()) => self.of_registry(news),
                event = next_of(self.channel.as_mut().map(|(_, heard)| heard)) => {
                    self.of_channel(event);
                }
                () = grace_over(&self.fallback), if self.channel.is_some() => {
                    self.turn_to_channel().await;
                }
            }
        }
    }

    fn of_registry(&mut self, news: Option<ConnectionEvent>) {
        match news {
            Some(ConnectionEvent::Connected) => self.fallback = Fallback::Ignoring,
            Some(ConnectionEvent::Event(event)) => self.ready.extend(self.seen.told(event)),
            Some(ConnectionEvent::Lost(error)) => self.lost(&error),
            None => self.registry = None,
        }
    }

    fn lost(&mut self, error: &RegistryClientError) {
        debug!(%error, "watch of the registry lost");
        if matches!(self.fallback, Fallback::Ignoring) {
            self.fallback = Fallback::held(GRACE);
        }
        if !error.is_temporary() {
            warn!(%error, "the registry cannot be watched");
        }
    }

    fn of_channel(&mut self, event: Option<ServiceEvent>) {
        let Some(event) = event else {
            self.channel = None;
            return;
        };
        match &mut self.fallback {
            Fallback::Ignoring => {}
            Fallback::Buffering { events, .. } => {
                if events.len() == MAX_HELD {
                    events.pop_front();
                }
                events.push_back(event);
            }
            Fallback::Active => self.hear(event),
        }
    }

    /// The registry is not back in time: asks the channel who is there, and believes it from now on.
    async fn turn_to_channel(&mut self) {
        let held = match std::mem::replace(&mut self.fallback, Fallback::Active) {
            Fallback::Buffering { events, .. } => events,
            Fallback::Ignoring | Fallback::Active => VecDeque::new(),
        };
        let Some((broadcaster, _)) = &self.channel else { return };
        warn!(
            registry_url = self.client.deps().registry.url(),
            "The registry cannot be watched, telling what the broadcast channel says"
        );
        let scopes = self.client.deps().scopes.clone();
        let answers = broadcaster.query(self.name.as_ref(), &scopes, GATHER, QueryMode::All).await;
        let answers = answers.unwrap_or_else(|error| {
            debug!(%error, "the broadcast channel cannot be asked");
            Vec::new()
        });
        // What was heard before is older than the answers.
        held.into_iter().for_each(|event| self.hear(event));
        for endpoint in answers {
            self.hear(registered(Arc::new(endpoint)));
        }
        if !self.seen.is_primed() {
            self.ready.clear();
            self.ready.push_back(self.seen.primed());
        }
    }

    fn hear(&mut self, event: ServiceEvent) {
        // On the channel a snapshot is what was heard so far, and never all there is.
        let events = match event.change {
            Change::Snapshot { endpoints } => endpoints.into_iter().map(registered).collect(),
            change => vec![ServiceEvent { revision: Revision::default(), change }],
        };
        for event in events {
            if event.change.endpoint().is_some_and(|endpoint| self.wants(endpoint)) {
                self.ready.extend(self.seen.told(event));
            }
        }
    }

    fn wants(&self, endpoint: &ServiceEndpoint) -> bool {
        self.name.as_ref().is_none_or(|name| *name == endpoint.name)
            && self.client.deps().rank(endpoint).is_some()
    }
}

// === impl Fallback ===

impl Fallback {
    fn held(grace: Duration) -> Self {
        Self::Buffering { until: Instant::now() + grace, events: VecDeque::new() }
    }
}

fn registered(endpoint: Arc<ServiceEndpoint>) -> ServiceEvent {
    let change = Change::Registered { endpoint };
    ServiceEvent { revision: Revision::default(), change }
}

/// The stream's next item; where there is no stream there is never one.
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

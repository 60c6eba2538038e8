//! Keeps what is known of services current: one watch of the registry for all of them, and an ear
//! on the broadcast channel.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use portolan_core::{Change, HealthStatus, ServiceEndpoint, ServiceEvent, ServiceName};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::cache_update;
use crate::registry_client::{ConnectionEvent, ConnectionEvents, ReconnectingWatch, WatchRequest};
use crate::resolver::Resolver;
use crate::strategies::registry;

/// How long to gather new names before the watch is opened anew for all of them.
const GATHER: Duration = Duration::from_millis(50);
/// How long a watch lasts at least before it is opened anew: each begins with everything.
const REST: Duration = Duration::from_secs(1);

/// The task that listens, begun with the first thing that it can keep current.
#[derive(Default)]
pub(crate) struct CacheSync {
    begun: AtomicBool,
    entered: Notify,
}

// === impl CacheSync ===

impl CacheSync {
    /// Something was put into the cache. The watch opens anew and begins with a snapshot, so that what
    /// changed while it was being found is not missed.
    pub(crate) fn of_new_entry(&self, resolver: &Arc<Resolver>) {
        self.entered.notify_one();
        if !self.begun.swap(true, Ordering::Relaxed) {
            let finder_of_task = Arc::clone(resolver);
            resolver.tasks.spawn(async move {
                let listening = listen(&finder_of_task);
                finder_of_task.closed.run_until_cancelled(listening).await
            });
        }
    }
}

/// Listens until it is cancelled.
async fn listen(resolver: &Resolver) {
    let mut watch: Option<ConnectionEvents> = None;
    let channel = resolver.deps.listening_broadcaster().await;
    let mut heard = channel.map(|broadcaster| broadcaster.watch_peers());
    let (mut rested, mut due) = (Instant::now(), None);
    loop {
        tokio::select! {
            () = resolver.cache_sync.entered.notified() => {
                due = Some(rested.max(Instant::now() + GATHER));
            }
            () = reached(due) => {
                watch = open(resolver);
                (rested, due) = (Instant::now() + REST, None);
            }
            news = next(&mut watch) => match news {
                ConnectionEvent::Connected => {}
                ConnectionEvent::Event(event) => apply(resolver, &event, true),
                ConnectionEvent::Lost(error) => debug!(%error, "watch of the registry lost"),
            },
            event = next(&mut heard) => apply(resolver, &event, false),
        }
    }
}

async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The next item; none of a stream that ended will ever come.
async fn next<S: Stream + Unpin>(stream: &mut Option<S>) -> S::Item {
    if let Some(open) = stream {
        if let Some(item) = open.next().await {
            return item;
        }
        *stream = None;
    }
    std::future::pending().await
}

/// A watch of everything that is known.
fn open(resolver: &Resolver) -> Option<ConnectionEvents> {
    let names = resolver.cache.as_ref()?.names();
    let asks_registry = resolver.deps.asks(&registry::KIND) && !names.is_empty();
    asks_registry.then(|| {
        let scopes = resolver.deps.scopes.clone();
        let query = WatchRequest { names, scopes, from: None };
        ReconnectingWatch::news(resolver.deps.registry.clone(), query)
    })
}

fn apply(resolver: &Resolver, event: &ServiceEvent, from_registry: bool) {
    let Some(cache) = &resolver.cache else { return };
    let rank = |endpoint: &ServiceEndpoint| resolver.deps.rank(endpoint);
    match &event.change {
        // What is heard is never all there is.
        Change::Snapshot { .. } if !from_registry => {}
        Change::Snapshot { endpoints } => {
            let of_service = by_name(endpoints);
            for name in cache.names() {
                let now = of_service.get(&name).map_or(&[][..], Vec::as_slice);
                cache.update(&name, |entry| cache_update::after_snapshot(&entry.found, now, &rank));
            }
        }
        change => {
            let Some(endpoint) = change.endpoint() else { return };
            if !change.is_removal() && endpoint.health != HealthStatus::Critical {
                resolver.suspects.clear(&endpoint.id);
            }
            cache.update(&endpoint.name, |entry| {
                cache_update::after_change(&entry.found, change, from_registry, &rank)
            });
        }
    }
}

fn by_name(endpoints: &[Arc<ServiceEndpoint>]) -> HashMap<ServiceName, Vec<Arc<ServiceEndpoint>>> {
    let mut of_service: HashMap<_, Vec<_>> = HashMap::new();
    for endpoint in endpoints {
        of_service.entry(endpoint.name.clone()).or_default().push(Arc::clone(endpoint));
    }
    of_service
}

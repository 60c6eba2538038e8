//! Keeps the cache current: one watch of the registry for all cached services, and the
//! announcements on the broadcast channel.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use portolan_core::{Change, HealthStatus, ServiceEndpoint, ServiceEvent, ServiceName};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::cache::Cache;
use crate::cache_update;
use crate::feeds::Feeds;
use crate::lifecycle::Lifecycle;
use crate::registry_client::{ConnectionEvent, ConnectionEvents};
use crate::select::Suspects;
use crate::strategy::ChangeFeed;

/// How long new names are collected before the watch is reopened for all of them.
const GATHER: Duration = Duration::from_millis(50);
/// The shortest time between two reopenings: each watch starts with a full snapshot.
const REST: Duration = Duration::from_secs(1);

/// The cache synchronisation task, started by the first cache entry.
pub(crate) struct CacheSync {
    started: AtomicBool,
    new_entry: Arc<Notify>,
    lifecycle: Lifecycle,
    task: Task,
}

/// What the task works with. It does not keep the cache alive.
#[derive(Clone)]
struct Task {
    cache: Weak<Cache>,
    suspects: Arc<Suspects>,
    feeds: Feeds,
}

// === impl CacheSync ===

impl CacheSync {
    pub(crate) fn new(
        cache: &Arc<Cache>,
        suspects: Arc<Suspects>,
        feeds: Feeds,
        lifecycle: Lifecycle,
    ) -> Self {
        let task = Task { cache: Arc::downgrade(cache), suspects, feeds };
        Self { started: AtomicBool::new(false), new_entry: Arc::default(), lifecycle, task }
    }

    /// Reopens the watch after a new entry. The watch starts with a snapshot, so changes during the
    /// lookup are not missed.
    pub(crate) fn follow_new_entry(&self) {
        self.new_entry.notify_one();
        if !self.started.swap(true, Ordering::Relaxed) {
            self.lifecycle.spawn(self.task.clone().run(Arc::clone(&self.new_entry)));
        }
    }
}

// === impl Task ===

impl Task {
    async fn run(self, new_entry: Arc<Notify>) {
        let mut watch: Option<ConnectionEvents> = None;
        let broadcaster = self.feeds.broadcaster().await;
        let mut announced = broadcaster.map(|broadcaster| broadcaster.watch_peers());
        let (mut rested, mut due) = (Instant::now(), None);
        loop {
            tokio::select! {
                () = new_entry.notified() => {
                    due = Some(rested.max(Instant::now() + GATHER));
                }
                () = reached(due) => {
                    let Some(cache) = self.cache.upgrade() else { return };
                    watch = self.watch(cache.names());
                    (rested, due) = (Instant::now() + REST, None);
                }
                event = next(&mut watch) => match event {
                    ConnectionEvent::Connected => {}
                    ConnectionEvent::Event(event) => self.apply(&event, ChangeFeed::Ordered),
                    ConnectionEvent::Lost(error) => debug!(%error, "Registry watch lost"),
                },
                event = next(&mut announced) => self.apply(&event, ChangeFeed::Announced),
            }
        }
    }

    fn watch(&self, names: Vec<ServiceName>) -> Option<ConnectionEvents> {
        if names.is_empty() { None } else { self.feeds.watch_registry(names) }
    }

    fn apply(&self, event: &ServiceEvent, feed: ChangeFeed) {
        let Some(cache) = self.cache.upgrade() else { return };
        let rank = |endpoint: &ServiceEndpoint| self.feeds.rank(endpoint);
        match &event.change {
            // A snapshot of the broadcast channel is never complete.
            Change::Snapshot { .. } if feed == ChangeFeed::Announced => {}
            Change::Snapshot { endpoints, incomplete } => {
                let by_name = by_name(endpoints);
                for name in cache.names() {
                    let now = by_name.get(&name).map_or(&[][..], Vec::as_slice);
                    cache.update(&name, |entry| {
                        cache_update::after_snapshot(&entry.resolution, now, *incomplete, &rank)
                    });
                }
            }
            change => {
                let Some(endpoint) = change.endpoint() else { return };
                if !change.is_removal() && endpoint.health != HealthStatus::Critical {
                    self.suspects.remove(&endpoint.id);
                }
                cache.update(&endpoint.name, |entry| {
                    cache_update::after_change(&entry.resolution, change, feed, &rank)
                });
            }
        }
    }
}

async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Returns the next item, or waits forever once the stream has ended.
async fn next<S: Stream + Unpin>(stream: &mut Option<S>) -> S::Item {
    if let Some(open) = stream {
        if let Some(item) = open.next().await {
            return item;
        }
        *stream = None;
    }
    std::future::pending().await
}

fn by_name(endpoints: &[Arc<ServiceEndpoint>]) -> HashMap<ServiceName, Vec<Arc<ServiceEndpoint>>> {
    let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
    for endpoint in endpoints {
        by_name.entry(endpoint.name.clone()).or_default().push(Arc::clone(endpoint));
    }
    by_name
}

//! The task that keeps a set of instances current, by the rules by which the cache is kept current.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use portolan_core::{Backoff, Change, HealthStatus, ServiceEndpoint, ServiceEvent};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::cache::CacheAction;
use crate::cache_update;
use crate::cached_resolver::CachedResolver;
use crate::chain::Resolution;
use crate::error::DiscoverError;
use crate::feeds::Feeds;
use crate::options::LookupOptions;
use crate::registry_client::ConnectionEvent;
use crate::strategy::ChangeFeed;

use super::set::InstanceSet;

/// The interval between lookups if no feed reports the changes.
const WITHOUT_FEED: Duration = Duration::from_secs(5);
/// The same if announcements do: they are not ordered, and may be lost.
const ANNOUNCED: Duration = Duration::from_secs(30);
/// The same if the registry does: for what it does not know, such as a lease on this host.
const ORDERED: Duration = Duration::from_secs(5 * 60);
/// The shortest and the longest wait after a lookup that found nothing, or that could not be made.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// The task of one set.
pub(super) struct Follower {
    pub(super) set: Arc<InstanceSet>,
    pub(super) resolver: CachedResolver,
    pub(super) feeds: Feeds,
    resolution: Option<Arc<Resolution>>,
    /// When the next lookup is due.
    due: Instant,
    /// The time of the last lookup, before which the next one is not due again.
    asked: Instant,
    backoff: Backoff,
}

// === impl Follower ===

impl Follower {
    pub(super) fn new(set: Arc<InstanceSet>, resolver: CachedResolver, feeds: Feeds) -> Self {
        let (now, backoff) = (Instant::now(), Backoff::new(RETRY.0, RETRY.1));
        Self { set, resolver, feeds, resolution: None, due: now, asked: now, backoff }
    }

    /// Asks the strategies for all instances.
    pub(super) async fn look_up(&mut self) -> Result<(), DiscoverError> {
        let (name, options) = (self.set.name().clone(), LookupOptions::default());
        let found = self.resolver.resolve(name, true, &options).await;
        self.asked = Instant::now();
        match found {
            Ok((resolution, _)) => {
                self.backoff = Backoff::new(RETRY.0, RETRY.1);
                self.due = self.asked + interval(resolution.feed);
                self.set.set_error(None);
                self.show(Some(resolution));
                Ok(())
            }
            Err(error) => {
                self.due = self.asked + self.backoff.next_wait();
                self.set.set_error(Some(error.clone()));
                // What is known is better than nothing while nobody can be asked.
                if !error.is_inconclusive() {
                    self.show(None);
                }
                Err(error)
            }
        }
    }

    /// Follows the changes until the set is dropped or the client is closed.
    pub(super) async fn run(mut self) {
        let names = vec![self.set.name().clone()];
        let mut registry = self.feeds.watch_registry(names);
        let broadcaster = self.feeds.broadcaster().await;
        let mut announced = broadcaster.as_ref().map(|broadcaster| broadcaster.watch_peers());
        let suspects = Arc::clone(self.resolver.suspects());
        let mut reported = suspects.subscribe();
        loop {
            tokio::select! {
                // The registry takes precedence over announcements of the same change.
                biased;
                event = next(&mut registry) => match event {
                    ConnectionEvent::Event(event) => self.apply(&event, ChangeFeed::Ordered),
                    ConnectionEvent::Connected | ConnectionEvent::Lost(_) => {}
                },
                event = next(&mut announced) => self.apply(&event, ChangeFeed::Announced),
                Ok(()) = reported.changed() => self.on_report(),
                () = sleep_until(suspects.next_end().unwrap_or(self.due).min(self.due)) => {
                    self.on_timer().await;
                }
            }
        }
    }

    async fn on_timer(&mut self) {
        // A suspicion may be over.
        self.set.refresh_usable();
        if Instant::now() >= self.due
            && let Err(error) = self.look_up().await
        {
            debug!(service_name = %self.set.name(), %error, "Instances not refreshed");
        }
    }

    /// A caller could not connect to an instance. If that is true of all, or no feed reports that the instance is gone, the
    /// strategies are asked again.
    fn on_report(&mut self) {
        self.set.refresh_usable();
        let is_followed = self.resolution.as_ref().is_some_and(|r| r.feed == ChangeFeed::Ordered);
        let (known, suspects) = self.set.count_suspects();
        if suspects > 0 && (suspects == known || !is_followed) {
            self.look_up_soon();
        }
    }

    /// Makes the next lookup due as soon as it may be.
    fn look_up_soon(&mut self) {
        self.due = self.due.min(self.asked + RETRY.0);
    }

    fn apply(&mut self, event: &ServiceEvent, feed: ChangeFeed) {
        let feeds = self.feeds.clone();
        let rank = |endpoint: &ServiceEndpoint| feeds.rank(endpoint);
        let is_own = |endpoint: &ServiceEndpoint| endpoint.name == *self.set.name();
        let action = match (&event.change, &self.resolution) {
            // A snapshot of the broadcast channel is never complete.
            (Change::Snapshot { .. }, _) if feed == ChangeFeed::Announced => return,
            (Change::Snapshot { endpoints, .. }, None) if endpoints.is_empty() => return,
            (Change::Snapshot { endpoints, incomplete }, Some(known)) => {
                cache_update::after_snapshot(known, endpoints, *incomplete, &rank)
            }
            (change, known) => {
                let Some(endpoint) = change.endpoint().filter(|endpoint| is_own(endpoint)) else {
                    return self.look_up_soon();
                };
                if !change.is_removal() && endpoint.health != HealthStatus::Critical {
                    self.resolver.suspects().remove(&endpoint.id);
                }
                match known {
                    Some(known) => cache_update::after_change(known, change, feed, &rank),
                    None if change.is_removal() => return,
                    None => CacheAction::MarkStale,
                }
            }
        };
        self.execute(action);
    }

    fn execute(&mut self, action: CacheAction) {
        match action {
            CacheAction::Keep => {}
            CacheAction::Replace(resolution) if !resolution.candidates.is_empty() => {
                self.show(Some(Arc::new(resolution)));
            }
            CacheAction::MarkStale => self.look_up_soon(),
            CacheAction::Replace(_) | CacheAction::Remove => {
                self.show(None);
                self.look_up_soon();
            }
        }
    }

    fn show(&mut self, resolution: Option<Arc<Resolution>>) {
        self.set.replace(resolution.as_ref().map_or(&[], |resolution| &resolution.candidates));
        self.resolution = resolution;
    }
}

fn interval(feed: ChangeFeed) -> Duration {
    match feed {
        ChangeFeed::None => WITHOUT_FEED,
        ChangeFeed::Announced => ANNOUNCED,
        ChangeFeed::Ordered => ORDERED,
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

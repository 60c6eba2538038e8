//! The feed task: applies what the store has committed to the view. Nothing else does, but for callers that have just committed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::Backoff;
use portolan_metrics::Metrics;
use tokio::sync::watch;
use tracing::warn;

use crate::store::{Committed, DirectFeed, Feed, Freshness, Update};
use crate::view::View;

/// The waits between attempts to read a feed that was lost.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// How many changes may wait for the feed task to wake their watches.
const UNWOKEN: usize = 4096;

/// How far the view has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The index of the last update that was applied.
    pub(crate) index: u64,
    pub(crate) feed: FeedState,
    /// Whether the view has the state of the store, of whatever age.
    pub(crate) loaded: bool,
}

/// The state of the feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum FeedState {
    #[default]
    Loading,
    Live,
    /// Why.
    Lost(Arc<str>),
    Closed,
}

/// Applies updates to the view. Dropping it closes the view, and with it every watch.
#[derive(Debug)]
pub(crate) struct ViewUpdater {
    view: Arc<View>,
    metrics: Metrics,
    progress: watch::Sender<Progress>,
    freshness: Freshness,
    /// The feed, if callers may take updates from it.
    direct: Option<Arc<dyn DirectFeed>>,
    /// Held while an update is taken and applied. What was applied, and its watches are not woken yet.
    unwoken: Mutex<Vec<Committed>>,
}

// === impl ViewUpdater ===

impl ViewUpdater {
    pub(crate) fn new(view: Arc<View>, metrics: Metrics, feed: &dyn Feed) -> Self {
        let (progress, unwoken) = (watch::Sender::new(Progress::default()), Mutex::default());
        let (freshness, direct) = (feed.freshness(), feed.direct());
        Self { view, metrics, progress, freshness, direct, unwoken }
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Applies the feed to the view, for ever.
    pub(crate) async fn run(self: Arc<Self>, mut feed: Box<dyn Feed>) {
        if let Some(direct) = &self.direct {
            return self.follow(&**direct).await;
        }
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST).jitter(0.2);
        loop {
            match feed.next().await {
                Ok(update) => {
                    self.apply(&update);
                    // Last, so that the writer's answer does not wait for a thousand watches.
                    self.view.wake(&update.committed);
                    backoff.reset();
                }
                Err(error) => {
                    warn!(%error, "Feed of the store lost");
                    let reason = Arc::from(error.to_string());
                    self.progress.send_modify(|progress| progress.feed = FeedState::Lost(reason));
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Applies what no caller has applied, and wakes the watches.
    async fn follow(&self, feed: &dyn DirectFeed) {
        loop {
            self.advance(feed, u64::MAX);
            self.wake();
            feed.committed().await;
        }
    }

    /// Applies what the store has committed up to the index, in the task of the caller, if the feed allows that. The watches are woken
    /// by the feed task, so that the caller does not wait for them.
    pub(crate) fn advance_to(&self, index: u64) {
        if let Some(feed) = &self.direct {
            self.advance(&**feed, index);
        }
        if self.unwoken.lock().len() >= UNWOKEN {
            self.wake();
        }
    }

    fn advance(&self, feed: &dyn DirectFeed, index: u64) {
        let mut unwoken = self.unwoken.lock();
        while self.progress.borrow().index < index
            && let Some(update) = feed.take()
        {
            self.apply(&update);
            let of_watches = |committed: &Committed| !matches!(committed, Committed::Renewed(_));
            unwoken.extend(update.committed.into_iter().filter(of_watches));
        }
    }

    fn wake(&self) {
        let unwoken = std::mem::take(&mut *self.unwoken.lock());
        self.view.wake(&unwoken);
    }

    fn apply(&self, update: &Update) {
        for (name, critical) in self.view.apply(&update.committed) {
            self.metrics.unhealthy_services(name.as_str(), critical);
        }
        let progress = Progress { index: update.index, feed: FeedState::Live, loaded: true };
        self.progress.send_replace(progress);
        self.freshness.reach(update.index);
    }
}

impl Drop for ViewUpdater {
    fn drop(&mut self) {
        self.view.close();
        self.progress.send_modify(|progress| progress.feed = FeedState::Closed);
    }
}

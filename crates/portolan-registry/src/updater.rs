//! The feed: applies what the store has committed to the view, and nothing else does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::Backoff;
use portolan_metrics::Metrics;
use tokio::sync::watch;
use tracing::warn;

use crate::store::{Feed, Freshness, Update};
use crate::view::View;

/// The waits between attempts to read a feed that was lost.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

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
}

// === impl ViewUpdater ===

impl ViewUpdater {
    pub(crate) fn new(view: Arc<View>, metrics: Metrics, freshness: Freshness) -> Self {
        Self { view, metrics, progress: watch::Sender::new(Progress::default()), freshness }
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Applies the feed to the view, for ever.
    pub(crate) async fn run(self, mut feed: Box<dyn Feed>) -> Infallible {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST).jitter(0.2);
        loop {
            match feed.next().await {
                Ok(update) => {
                    self.apply(&update);
                    if self.view.has_watches() {
                        // So that the writers' answers do not wait for a thousand watches.
                        tokio::task::yield_now().await;
                        self.view.wake(&update.committed);
                    }
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

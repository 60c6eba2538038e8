//! The task behind a registry: commits, lets the view follow the feed, and runs the store's maintenance.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::Recorder;
use crate::committer::{Committer, Request};
use crate::store::{Feed, Store};
use crate::updater::ViewUpdater;

/// How long the view may take to show the last commits before a shutdown.
const CATCH_UP: Duration = Duration::from_millis(200);

/// How long the store may take to leave the other servers.
const LEAVE: Duration = Duration::from_millis(150);

/// What a [`Registry`](crate::Registry) needs to run. Nothing is committed before
/// [`run`](Self::run) is polled; once it ends or is dropped, all watches end and commands fail.
#[derive(Debug)]
pub struct RegistryTask {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) feed: Box<dyn Feed>,
    pub(crate) queue: mpsc::Receiver<Request>,
    pub(crate) updater: ViewUpdater,
    pub(crate) recorder: Recorder,
}

// === impl RegistryTask ===

impl RegistryTask {
    /// Runs the registry until the shutdown, or until every handle is dropped. Commands that were
    /// accepted by then are committed and answered; what takes longer than 0.75 s is cut off.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let Self { store, feed, queue, updater, recorder } = self;
        let mut progress = updater.progress();
        let mut feed = Box::pin(updater.run(feed));
        let (maintained, maintenance) = (Arc::clone(&store), recorder.clone());
        let maintenance = AbortOnDropHandle::new(tokio::spawn(async move {
            maintained.maintain(maintenance).await;
        }));
        let committer = Committer::new(Arc::clone(&store), queue, recorder);
        let index = committer.run(feed.as_mut(), shutdown).await;
        let caught_up = async {
            tokio::select! {
                _ = progress.wait_for(|progress| progress.index >= index) => {}
                never = &mut feed => match never {},
            }
        };
        if timeout(CATCH_UP, caught_up).await.is_err() {
            warn!("View did not show the last commits before the shutdown");
        }
        drop(feed);
        maintenance.abort();
        _ = maintenance.await;
        // If it is cut off, its lease ends.
        _ = timeout(LEAVE, store.leave()).await;
    }
}

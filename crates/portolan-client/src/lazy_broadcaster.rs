//! The client's broadcaster, opened by the first use.

use std::sync::Arc;

use parking_lot::Mutex;
use portolan_broadcast::{BroadcastConfig, BroadcastError, Broadcaster};
use portolan_metrics::Metrics;

/// A shared broadcaster, or an own one that is opened by the first use.
pub(crate) struct LazyBroadcaster {
    /// `None` for a shared broadcaster, which stays open when the client closes.
    own: Option<(BroadcastConfig, Metrics)>,
    opening: tokio::sync::Mutex<()>,
    open: Mutex<Option<Broadcaster>>,
}

// === impl LazyBroadcaster ===

impl LazyBroadcaster {
    /// Wraps a broadcaster that stays open when the client closes.
    pub(crate) fn shared(broadcaster: Broadcaster) -> Self {
        let open = Mutex::new(Some(broadcaster));
        Self { own: None, opening: tokio::sync::Mutex::default(), open }
    }

    /// Opens a broadcaster of its own by the first use.
    pub(crate) fn own(config: BroadcastConfig, metrics: Metrics) -> Self {
        let own = Some((config, metrics));
        Self { own, opening: tokio::sync::Mutex::default(), open: Mutex::default() }
    }

    /// Returns whether the configuration turns broadcasting off.
    pub(crate) fn is_disabled(&self) -> bool {
        self.own.as_ref().is_some_and(|(config, _)| !config.enabled)
    }

    /// Returns the broadcaster and opens it first if necessary.
    pub(crate) async fn get(&self) -> Result<Broadcaster, Arc<BroadcastError>> {
        if let Some(broadcaster) = &*self.open.lock() {
            return Ok(broadcaster.clone());
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(broadcaster) = &*self.open.lock() {
            return Ok(broadcaster.clone());
        }
        let Some((config, metrics)) = &self.own else {
            return Err(Arc::new(BroadcastError::Disabled));
        };
        let broadcaster = Broadcaster::new(config.clone(), metrics.clone()).await?;
        *self.open.lock() = Some(broadcaster.clone());
        Ok(broadcaster)
    }

    /// Closes the broadcaster if it is an own one.
    pub(crate) async fn close(&self) {
        let open = self.open.lock().take();
        if let (Some(broadcaster), Some(_)) = (open, &self.own) {
            broadcaster.stop().await;
        }
    }
}

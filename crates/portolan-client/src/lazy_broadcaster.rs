//! The client's place on the broadcast channel, opened when it is first needed.

use std::sync::Arc;

use parking_lot::Mutex;
use portolan_broadcast::{BroadcastConfig, BroadcastError, Broadcaster};
use portolan_metrics::Metrics;

/// A broadcaster that is shared with others, or one's own once it is needed.
pub(crate) struct LazyBroadcaster {
    /// None where the broadcaster is somebody else's, and none of ours to stop.
    own: Option<(BroadcastConfig, Metrics)>,
    opening: tokio::sync::Mutex<()>,
    open: Mutex<Option<Broadcaster>>,
}

// === impl LazyBroadcaster ===

impl LazyBroadcaster {
    /// A channel that others use too; it stays open when the client closes.
    pub(crate) fn shared(broadcaster: Broadcaster) -> Self {
        let open = Mutex::new(Some(broadcaster));
        Self { own: None, opening: tokio::sync::Mutex::default(), open }
    }

    /// A channel of one's own.
    pub(crate) fn own(config: BroadcastConfig, metrics: Metrics) -> Self {
        let own = Some((config, metrics));
        Self { own, opening: tokio::sync::Mutex::default(), open: Mutex::default() }
    }

    /// Whether the configuration turns it off.
    pub(crate) fn is_disabled(&self) -> bool {
        self.own.as_ref().is_some_and(|(config, _)| !config.enabled)
    }

    /// The broadcaster, opened now where it was not yet.
    pub(crate) async fn broadcaster(&self) -> Result<Broadcaster, Arc<BroadcastError>> {
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

    /// Leaves the channel, where it is one's own.
    pub(crate) async fn close(&self) {
        let open = self.open.lock().take();
        if let (Some(broadcaster), Some(_)) = (open, &self.own) {
            broadcaster.stop().await;
        }
    }
}

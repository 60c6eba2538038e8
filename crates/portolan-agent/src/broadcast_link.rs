//! Announces the desired state of the service on the broadcast channel.

use std::time::Duration;

use jiff::Timestamp;
use portolan_broadcast::{AnnounceError, Broadcaster};
use portolan_core::{Action, Remedy as _, ServiceEndpoint};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use crate::backoff::{interval, with_jitter};

/// The link from one service to the broadcast channel. Queries are answered until the link is
/// dropped.
#[derive(Debug)]
pub(crate) struct BroadcastLink {
    broadcaster: Broadcaster,
    desired: watch::Receiver<ServiceEndpoint>,
    /// The maximum interval between announcements.
    heartbeat: Duration,
    failing: bool,
}

// === impl BroadcastLink ===

impl BroadcastLink {
    pub(crate) fn new(
        broadcaster: Broadcaster,
        desired: watch::Receiver<ServiceEndpoint>,
        heartbeat: Duration,
    ) -> Self {
        Self { broadcaster, desired, heartbeat, failing: false }
    }

    /// Answers queries with the current state of the service from now on, and announces that state.
    pub(crate) async fn announce(&mut self, action: Action) -> Result<(), AnnounceError> {
        let mut endpoint = self.desired.borrow_and_update().clone();
        endpoint.last_heartbeat = Timestamp::now();
        self.broadcaster.publish(endpoint.clone())?;
        self.broadcaster.announce(action, &endpoint).await
    }

    /// Announces every change, and heartbeats between changes, until the future is dropped. `result`
    /// is the result of the first announcement.
    pub(crate) async fn run(&mut self, mut result: Result<(), AnnounceError>) {
        loop {
            self.record(result);
            let interval = interval(self.heartbeat, self.desired.borrow().ttl);
            let due = Instant::now() + with_jitter(interval);
            let action = tokio::select! {
                () = sleep_until(due) => Action::Heartbeat,
                Ok(()) = self.desired.changed() => Action::Update,
            };
            result = self.announce(action).await;
        }
    }

    /// Announces that the service is gone, before the deadline.
    pub(crate) async fn withdraw(&self, deadline: Instant) {
        let endpoint = self.desired.borrow().clone();
        // First, so that no query is answered with a service that is about to stop.
        self.broadcaster.unpublish(&endpoint.id);
        let announced = self.broadcaster.announce(Action::Deregister, &endpoint);
        match timeout_at(deadline, announced).await {
            Ok(Ok(())) => debug!(service_id = %endpoint.id, "Service announced as gone"),
            Ok(Err(error)) => {
                warn!(service_id = %endpoint.id, %error, "Service not announced as gone");
            }
            Err(_) => warn!(service_id = %endpoint.id, "Service not announced as gone in time"),
        }
    }

    /// Ends the answers to queries, without an announcement.
    pub(crate) fn silence(&self) {
        self.broadcaster.unpublish(&self.desired.borrow().id);
    }

    /// Logs the first failure in a row and the success after it.
    fn record(&mut self, result: Result<(), AnnounceError>) {
        let failed_before = std::mem::replace(&mut self.failing, result.is_err());
        let service_id = &self.desired.borrow().id;
        match result {
            Err(error) if !failed_before => {
                warn!(%service_id, error = error.with_remedy(), "Service not announced, trying again");
            }
            Err(error) => debug!(%service_id, %error, "Service still not announced"),
            Ok(()) if failed_before => info!(%service_id, "Service announced again"),
            Ok(()) => {}
        }
    }
}

impl Drop for BroadcastLink {
    fn drop(&mut self) {
        self.silence();
    }
}

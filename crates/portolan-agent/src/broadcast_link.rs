//! Keeps the broadcast channel in step with what is to be known of the service.

use std::time::Duration;

use jiff::Timestamp;
use portolan_broadcast::{AnnounceError, Broadcaster};
use portolan_core::{Action, ServiceEndpoint};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use crate::rhythm::{interval, with_jitter};

/// The link from one service to the broadcast channel. Queries are answered for as long as it
/// is there, and no longer.
#[derive(Debug)]
pub(crate) struct BroadcastLink {
    broadcaster: Broadcaster,
    desired: watch::Receiver<ServiceEndpoint>,
    /// How long from one announcement to the next at most.
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

    /// Answers queries with the service as it is now, and tells the channel.
    pub(crate) async fn announce(&mut self, action: Action) -> Result<(), AnnounceError> {
        let mut endpoint = self.desired.borrow_and_update().clone();
        endpoint.last_heartbeat = Timestamp::now();
        self.broadcaster.publish(endpoint.clone())?;
        self.broadcaster.announce(action, &endpoint).await
    }

    /// Keeps the channel in step until it is dropped. `begun` is how the first attempt ended.
    pub(crate) async fn run(&mut self, mut begun: Result<(), AnnounceError>) {
        loop {
            self.note(begun);
            let interval = interval(self.heartbeat, self.desired.borrow().ttl);
            let due = Instant::now() + with_jitter(interval);
            let action = tokio::select! {
                () = sleep_until(due) => Action::Heartbeat,
                Ok(()) = self.desired.changed() => Action::Update,
            };
            begun = self.announce(action).await;
        }
    }

    /// Says good-bye, as far as that goes until the deadline.
    pub(crate) async fn withdraw(&self, deadline: Instant) {
        let endpoint = self.desired.borrow().clone();
        // First, so that no query is answered with a service that is going.
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

    /// Tells of a failure once, and of its end.
    fn note(&mut self, outcome: Result<(), AnnounceError>) {
        let failed_before = std::mem::replace(&mut self.failing, outcome.is_err());
        let service_id = &self.desired.borrow().id;
        match outcome {
            Err(error) if !failed_before => {
                warn!(%service_id, %error, "Service not announced, trying again");
            }
            Err(error) => debug!(%service_id, %error, "Service still not announced"),
            Ok(()) if failed_before => info!(%service_id, "Service announced again"),
            Ok(()) => {}
        }
    }
}

impl Drop for BroadcastLink {
    fn drop(&mut self) {
        self.broadcaster.unpublish(&self.desired.borrow().id);
    }
}

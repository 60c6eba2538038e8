//! What the engine reports to the lease holder.

use std::time::Duration;

use portolan_core::Backoff;
use portolan_docker::Engine;
use tokio::sync::Notify;
use tokio::time::sleep;

/// The first wait before the engine is asked again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Notifies whenever a container has ended or the engine is back.
pub(super) async fn follow(engine: Engine, changed: &Notify) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        if let Ok(mut ends) = engine.container_ends().await {
            backoff.reset();
            changed.notify_one();
            while ends.next().await.is_ok() {
                changed.notify_one();
            }
        }
        sleep(backoff.next_wait()).await;
    }
}

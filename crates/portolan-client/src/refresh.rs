//! Background refresh of stale cache entries.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::{Backoff, ServiceName};
use tokio::time::sleep;
use tracing::debug;

use crate::error::DiscoverError;
use crate::lifecycle::Lifecycle;

/// The wait before the first attempt: every strategy was asked a moment ago.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The number of attempts, about three minutes; the next stale answer starts again.
const ATTEMPTS: usize = 10;

/// Retries lookups in the background, at most one per service; clones share everything.
#[derive(Clone)]
pub(crate) struct Refresher {
    lifecycle: Lifecycle,
    in_progress: Arc<Mutex<HashSet<ServiceName>>>,
}

// === impl Refresher ===

impl Refresher {
    pub(crate) fn new(lifecycle: Lifecycle) -> Self {
        Self { lifecycle, in_progress: Arc::default() }
    }

    /// Calls the lookup until it succeeds, unless a refresh of the service is in progress.
    pub(crate) fn start<L, F>(&self, name: ServiceName, lookup: L)
    where
        L: Fn() -> F + Send + 'static,
        F: Future<Output = Result<(), DiscoverError>> + Send,
    {
        if !self.in_progress.lock().insert(name.clone()) {
            return;
        }
        let in_progress = Arc::clone(&self.in_progress);
        self.lifecycle.spawn(async move {
            retry(&name, lookup).await;
            in_progress.lock().remove(&name);
        });
    }
}

async fn retry<F>(name: &ServiceName, lookup: impl Fn() -> F)
where
    F: Future<Output = Result<(), DiscoverError>>,
{
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    for _ in 0..ATTEMPTS {
        sleep(backoff.next_wait()).await;
        match lookup().await {
            Ok(()) => return debug!(service_name = %name, "Stale endpoint refreshed"),
            Err(error) => debug!(service_name = %name, %error, "Stale endpoint not refreshed"),
        }
    }
}

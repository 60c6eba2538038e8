//! Asks again in the background for what had to be served stale.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::ServiceName;
use tokio::time::sleep;
use tracing::debug;

use crate::discover::Options;
use crate::resolver::Resolver;

/// The wait before the first attempt: everybody was asked a moment ago.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How many attempts there are, about three minutes; the next who is served stale begins anew.
const ATTEMPTS: usize = 10;

/// The services that are being asked for in the background.
#[derive(Default)]
pub(crate) struct Refreshing(Mutex<HashSet<ServiceName>>);

/// Begins to ask for the service, unless that is going on already.
pub(crate) fn begin(resolver: &Arc<Resolver>, name: ServiceName, all: bool) {
    if !resolver.refreshing.0.lock().insert(name.clone()) {
        return;
    }
    let finder_of_task = Arc::clone(resolver);
    resolver.tasks.spawn(async move {
        let resolver = finder_of_task;
        let refreshed = refresh(&resolver, &name, all);
        // Cancelled or done, it is over.
        let _ = resolver.closed.run_until_cancelled(refreshed).await;
        resolver.refreshing.0.lock().remove(&name);
    });
}

async fn refresh(resolver: &Arc<Resolver>, name: &ServiceName, all: bool) {
    let mut wait = FIRST_WAIT;
    for _ in 0..ATTEMPTS {
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        let entry = resolver.cache.as_ref().and_then(|cache| cache.get(name, all));
        if entry.is_none_or(|entry| entry.is_fresh()) {
            return;
        }
        match resolver.ask(name.clone(), all, &Options::default()).await {
            Ok(_) => return debug!(service_name = %name, "stale endpoint refreshed"),
            Err(error) => debug!(service_name = %name, %error, "stale endpoint not refreshed"),
        }
    }
}

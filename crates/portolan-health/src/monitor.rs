//! Decides when to look at which instance, and passes on what changed.

mod watcher;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use portolan_core::{HealthReport, ServiceEndpoint, ServiceId};
use portolan_metrics::Metrics;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::checks::Subject;
use crate::{CheckSpec, HealthConfig};
use watcher::{Shared, Watcher};

/// Checks instances in the background, each in a task of its own that the monitor owns.
///
/// Clones share one monitor. Its tasks end at [`HealthMonitor::stop`], when the last clone goes,
/// or when nobody reads the reports any more.
#[derive(Clone)]
pub struct HealthMonitor {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    watched: Mutex<HashMap<ServiceId, Watched>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// The monitor's end of one watcher.
struct Watched {
    /// When the instance last reported by itself.
    reported: watch::Sender<Option<Instant>>,
    _stop_on_drop: DropGuard,
}

// === impl HealthMonitor ===

impl HealthMonitor {
    /// A monitor that sends every change of health to `reports`. Where that channel is full, the
    /// checks wait for it.
    pub fn new(
        config: HealthConfig,
        metrics: Metrics,
        reports: mpsc::Sender<(ServiceId, HealthReport)>,
    ) -> Self {
        let stopping = CancellationToken::new();
        let permits = Semaphore::new(usize::from(config.max_concurrent_checks.get()));
        let inner = Inner {
            shared: Arc::new(Shared { config, metrics, reports, permits }),
            watched: Mutex::default(),
            tasks: TaskTracker::new(),
            _stop_on_drop: stopping.clone().drop_guard(),
            stopping,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Checks the instance from now on, first at once. The health that the endpoint carries is
    /// taken as known, and only what differs is reported. Watched before, it is watched anew;
    /// with [`CheckSpec::none`] no longer. Must be called within a tokio runtime.
    pub fn watch(&self, endpoint: &ServiceEndpoint, spec: &CheckSpec) {
        let Some(check) = spec.check() else { return self.forget(&endpoint.id) };
        let stop = self.inner.stopping.child_token();
        let (reported, reports) = watch::channel(None);
        let subject = Subject { endpoint: endpoint.clone(), since: Instant::now(), reported: None };
        let shared = Arc::clone(&self.inner.shared);
        let watcher = Watcher::new(shared, Arc::clone(check), subject, reports);
        let watched = Watched { reported, _stop_on_drop: stop.clone().drop_guard() };
        // The one before stops first, so that nobody hears of the same instance from two.
        drop(self.watched().insert(endpoint.id.clone(), watched));
        self.inner.tasks.spawn(async move { stop.run_until_cancelled(watcher.run()).await });
    }

    /// Checks the instance no longer.
    pub fn forget(&self, id: &ServiceId) {
        self.watched().remove(id);
    }

    /// Checks nothing any more, until told to.
    pub fn forget_all(&self) {
        self.watched().clear();
    }

    /// Takes a sign of life from the instance itself, for a `ttl` check. Whether it is watched.
    pub fn report(&self, id: &ServiceId) -> bool {
        let watched = self.watched();
        let Some(instance) = watched.get(id) else { return false };
        instance.reported.send_replace(Some(Instant::now()));
        true
    }

    /// Ends every check and joins every task. Nothing is reported afterwards.
    pub async fn stop(&self) {
        self.inner.stopping.cancel();
        self.forget_all();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<ServiceId, Watched>> {
        self.inner.watched.lock()
    }
}

impl fmt::Debug for HealthMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthMonitor").field("watched", &self.watched().len()).finish()
    }
}

#[cfg(test)]
mod tests;

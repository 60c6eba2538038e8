//! The health monitor: one task per instance, and the reports of their changes.

mod event;
mod removal;
mod shares;
mod watcher;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use portolan_core::{HealthStatus, ServiceEndpoint, ServiceId};
use portolan_metrics::Metrics;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use event::HealthEvent;

use crate::tls::CheckTls;
use crate::{CheckReach, CheckSpec, HealthConfig, LastResults, Target};
use shares::Shares;
use watcher::{Shared, Watcher};

/// Checks instances in the background, each in its own task.
///
/// Clones share one monitor. Its tasks end when [`HealthMonitor::stop`] is called, when the last
/// clone is dropped, or when the receiver of the reports is dropped.
#[derive(Clone)]
pub struct HealthMonitor {
    inner: Arc<Inner>,
}

/// When an instance is checked for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstCheck {
    /// Immediately.
    Now,
    /// At a random time within the interval, so that many that begin together are spread evenly. An instance whose health is
    /// unknown is checked immediately.
    WithinInterval,
}

struct Inner {
    shared: Arc<Shared>,
    watched: Mutex<HashMap<ServiceId, Watched>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// The monitor's handle to one watcher.
struct Watched {
    /// When the instance last reported by itself, for a `ttl` check.
    reported: watch::Sender<Option<Instant>>,
    _stop_on_drop: DropGuard,
}

// === impl HealthMonitor ===

impl HealthMonitor {
    /// Creates a monitor that sends every change of health to `events`. When that channel is full,
    /// the checks wait.
    pub fn new(config: HealthConfig, metrics: Metrics, events: mpsc::Sender<HealthEvent>) -> Self {
        Self::recording(config, metrics, events, LastResults::default())
    }

    /// The same, with the results of the checks among those of others.
    pub fn recording(
        config: HealthConfig,
        metrics: Metrics,
        events: mpsc::Sender<HealthEvent>,
        results: LastResults,
    ) -> Self {
        let stopping = CancellationToken::new();
        let shares = Shares::new(usize::from(config.max_concurrent_checks.get()));
        let tls = Arc::new(CheckTls::new(config.tls.clone()));
        let inner = Inner {
            shared: Arc::new(Shared {
                started: Instant::now(),
                tls,
                config,
                metrics,
                events,
                shares,
                results,
            }),
            watched: Mutex::default(),
            tasks: TaskTracker::new(),
            _stop_on_drop: stopping.clone().drop_guard(),
            stopping,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts checking the instance, immediately and then periodically. The endpoint's health is the
    /// initial state, and only changes are reported. An earlier watch of the same id ends; with
    /// [`CheckSpec::none`] nothing else happens. Must be called within a tokio runtime.
    pub fn watch(&self, endpoint: &ServiceEndpoint, spec: &CheckSpec) {
        self.watch_within(endpoint, spec, CheckReach::Anywhere, FirstCheck::Now);
    }

    /// Does the same with checks that may connect only within this reach. What an instance of another answers is not in the
    /// reports, its checks share the permits fairly, and it is checked rarely until it responds for the first time. The checks
    /// of many such instances are spread over the interval, also after this host was suspended.
    pub fn watch_within(
        &self,
        endpoint: &ServiceEndpoint,
        spec: &CheckSpec,
        reach: CheckReach,
        first: FirstCheck,
    ) {
        let Some(check) = spec.check() else { return self.unwatch(&endpoint.id) };
        let stop = self.inner.stopping.child_token();
        let (reported, reports) = watch::channel(None);
        let shared = Arc::clone(&self.inner.shared);
        let target = Target::within(endpoint.clone(), reach, Arc::clone(&shared.tls));
        let target = Target { program: spec.program().cloned(), ..target };
        let timing = match target.reach.is_restricted() {
            true => spec.timing().within(&shared.config),
            false => spec.timing().over(&shared.config),
        };
        let first = match endpoint.health {
            HealthStatus::Unknown => FirstCheck::Now,
            _ => first,
        };
        let watcher = Watcher::new(shared, Arc::clone(check), target, timing, reports, first);
        let watched = Watched { reported, _stop_on_drop: stop.clone().drop_guard() };
        // The earlier watcher stops first, so that an instance never has two.
        drop(self.watched().insert(endpoint.id.clone(), watched));
        self.inner.tasks.spawn(async move { stop.run_until_cancelled(watcher.run()).await });
    }

    /// Stops checking the instance.
    pub fn unwatch(&self, id: &ServiceId) {
        if self.watched().remove(id).is_some() {
            self.results().reset(id);
        }
    }

    /// Returns the last results of the checks.
    pub fn results(&self) -> &LastResults {
        &self.inner.shared.results
    }

    /// Stops checking all instances.
    pub fn unwatch_all(&self) {
        self.watched().clear();
    }

    /// Records a report from the instance itself, for a `ttl` check. Returns whether the instance is
    /// watched.
    pub fn report(&self, id: &ServiceId) -> bool {
        let watched = self.watched();
        let Some(instance) = watched.get(id) else { return false };
        instance.reported.send_replace(Some(Instant::now()));
        true
    }

    /// Ends all checks and joins all tasks. Nothing is reported afterwards.
    pub async fn stop(&self) {
        self.inner.stopping.cancel();
        self.unwatch_all();
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

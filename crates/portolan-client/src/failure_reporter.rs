//! Tells the registry to which instances this program could not connect, so that it asks them at once and others avoid them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::ServiceId;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use crate::lifecycle::Lifecycle;
use crate::registry_client::RegistryClient;

/// How many reports wait. Those beyond it are dropped: the registry learns such a failure from others, or by its own checks.
const QUEUE: usize = 64;
/// How long the registry may take to accept a report.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long an instance is not reported again: for as long as the registry ignores it.
const PAUSE: Duration = Duration::from_secs(1);

/// Sends reports in the background. Its task is started by the first report, and ends with the client.
#[derive(Debug)]
pub(crate) struct FailureReporter {
    queue: mpsc::Sender<ServiceId>,
    /// The task before it is started.
    task: Mutex<Option<Task>>,
    lifecycle: Lifecycle,
}

#[derive(Debug)]
struct Task {
    registry: RegistryClient,
    queue: mpsc::Receiver<ServiceId>,
    /// When each instance was reported last.
    reported: HashMap<ServiceId, Instant>,
}

// === impl FailureReporter ===

impl FailureReporter {
    pub(crate) fn new(registry: RegistryClient, lifecycle: Lifecycle) -> Arc<Self> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let registry = registry.with_timeout(TIMEOUT);
        let task = Mutex::new(Some(Task { registry, queue, reported: HashMap::new() }));
        Arc::new(Self { queue: sender, task, lifecycle })
    }

    /// Reports the instance; outside of a runtime, nothing is reported.
    pub(crate) fn report(&self, id: &ServiceId) {
        if Handle::try_current().is_err() || self.lifecycle.check_open().is_err() {
            return;
        }
        if let Some(task) = self.task.lock().take() {
            self.lifecycle.spawn(task.run());
        }
        if self.queue.try_send(id.clone()).is_err() {
            debug!(service_id = %id, "Failed connection not reported to the registry: too many at once");
        }
    }
}

// === impl Task ===

impl Task {
    async fn run(mut self) {
        while let Some(id) = self.queue.recv().await {
            self.reported.retain(|_, at| at.elapsed() < PAUSE);
            if self.reported.contains_key(&id) {
                continue;
            }
            match self.registry.request_check(&id).await {
                Ok(()) => debug!(service_id = %id, "Failed connection reported to the registry"),
                // It may know no reports, or the instance no longer.
                Err(error) => {
                    debug!(service_id = %id, %error, "Failed connection not reported to the registry");
                }
            }
            // Those that have waited meanwhile are about the same failure.
            self.reported.insert(id, Instant::now());
        }
    }
}

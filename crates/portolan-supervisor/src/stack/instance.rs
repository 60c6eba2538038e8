//! One instance of a service in a stack: waits for its needs, runs, and is stopped.

mod needs;
mod supervise;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::{HealthStatus, Protocol, ServiceName};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::file::Condition;
use super::files::FileEntry;
use super::output::OutputLine;
use super::restart::{NextStart, Restart, Restarts};
use super::status::{InstanceState, InstanceStatus};
use super::{FirstFailure, StackClients};
use crate::child::WindowSize;
use crate::service::{ServiceDeps, ServiceSpec};

/// An instance and its dependencies.
pub(super) struct Instance {
    pub(super) index: usize,
    pub(super) number: u16,
    pub(super) spec: ServiceSpec,
    pub(super) needs: Vec<ServiceName>,
    /// Needs that only have to be in a state.
    pub(super) others: Vec<(ServiceName, Condition)>,
    /// Further schemes of the URLs that programs get.
    pub(super) url_schemes: BTreeSet<Protocol>,
    pub(super) deps: ServiceDeps,
    pub(super) clients: StackClients,
    pub(super) files: Vec<FileEntry>,
    /// The size of the terminal of the program, if it has one.
    pub(super) window: watch::Receiver<WindowSize>,
    /// That of the stack file.
    pub(super) folder: PathBuf,
    pub(super) rows: watch::Sender<Vec<InstanceStatus>>,
    pub(super) output: mpsc::Sender<OutputLine>,
    /// Cancelled when this instance must stop, within `grace`.
    pub(super) stop: CancellationToken,
    /// Cancelled when it must stop at once.
    pub(super) force: CancellationToken,
    pub(super) grace: Duration,
    pub(super) restart: Restart,
    /// Permits to start a program, shared by the stack.
    pub(super) starts: Arc<Semaphore>,
    pub(super) first_failure: FirstFailure,
}

// === impl Instance ===

impl Instance {
    pub(super) async fn run(self) {
        let state = self.run_with_restarts().await;
        if let Some(code) = state.failure_code() {
            self.first_failure.lock().get_or_insert(code);
        }
        self.publish(|row| {
            row.health = if state.is_failure() { HealthStatus::Critical } else { row.health };
            row.state = state;
        });
    }

    /// Runs the program until it ends and is not started again.
    async fn run_with_restarts(&self) -> InstanceState {
        let mut restarts = Restarts::new(self.restart);
        loop {
            let found = match self.stop.run_until_cancelled(self.wait_for_needs()).await {
                Some(Ok(found)) => found,
                // The need has ended for good.
                Some(Err(reason)) => return failed_state(reason, 1),
                None => return InstanceState::Exited { code: 0 },
            };
            let began = Instant::now();
            let state = self.start_and_supervise(found).await;
            if self.stop.is_cancelled() {
                return state;
            }
            let Some(next) = restarts.next(&state, began.elapsed()) else { return state };
            self.publish_restart(&state, next);
            let pause = tokio::time::sleep(next.after);
            if self.stop.run_until_cancelled(pause).await.is_none() {
                return state.stopped();
            }
        }
    }

    fn publish_restart(&self, state: &InstanceState, next: NextStart) {
        let NextStart { attempt, after } = next;
        let reason = state.reason();
        warn!(service_name = %self.spec.name, instance = self.number, %reason, attempt, ?after, "Program is started again");
        self.publish(|row| {
            row.state = InstanceState::Restarting { reason, attempt };
            (row.pid, row.got, row.health) = (None, None, HealthStatus::Unknown);
        });
    }

    fn publish(&self, change: impl FnOnce(&mut InstanceStatus)) {
        self.rows.send_if_modified(|rows| {
            let row = &mut rows[self.index];
            let before = row.clone();
            change(row);
            if row.state != before.state {
                row.since = Timestamp::now();
            }
            *row != before
        });
    }
}

fn failed_state(reason: String, code: u8) -> InstanceState {
    InstanceState::Failed { reason, code }
}

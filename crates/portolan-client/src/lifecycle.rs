//! The lifecycle of a client: its background tasks, and whether it is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::DiscoverError;

/// The background tasks of a client and the signal that ends them; clones share both.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lifecycle {
    tasks: TaskTracker,
    closed: CancellationToken,
    /// Whether the client was closed, for the hot path: reading the token takes a lock.
    is_closed: Arc<AtomicBool>,
}

// === impl Lifecycle ===

impl Lifecycle {
    /// Runs a task until it ends or the client closes.
    pub(crate) fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        let closed = self.closed.clone();
        self.tasks.spawn(async move { closed.run_until_cancelled(task).await.map(drop) });
    }

    /// Waits for the result, or fails when the client closes.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, DiscoverError> {
        self.closed.run_until_cancelled(work).await.ok_or(DiscoverError::Closed)
    }

    /// Fails if the client is closed.
    pub(crate) fn check_open(&self) -> Result<(), DiscoverError> {
        if self.closed.is_cancelled() { Err(DiscoverError::Closed) } else { Ok(()) }
    }

    /// Returns whether [`Self::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Returns the signal that ends everything.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Ends every task and waits for it.
    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.closed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

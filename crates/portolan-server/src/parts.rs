//! The tasks of a server: started in order, watched for failure, stopped in order.

use std::future::Future;
use std::time::Duration;

use futures_util::future::{FutureExt as _, select_all};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::ServerError;

/// The running tasks. Dropping it aborts them.
#[derive(Debug, Default)]
pub(crate) struct Parts(Vec<Part>);

#[derive(Debug)]
struct Part {
    name: &'static str,
    stop: CancellationToken,
    task: AbortOnDropHandle<Result<(), ServerError>>,
}

// === impl Parts ===

impl Parts {
    /// Spawns a task that ends when its token is cancelled.
    pub(crate) fn spawn<F>(
        &mut self,
        name: &'static str,
        start: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_fallible(name, |stop| start(stop).map(Ok));
    }

    /// Spawns a task that ends when its token is cancelled, or fails.
    pub(crate) fn spawn_fallible<F>(
        &mut self,
        name: &'static str,
        start: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), ServerError>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(start(stop.clone())));
        self.0.push(Part { name, stop, task });
    }

    /// Waits until a task fails or panics. Tasks that end without an error are not waited for.
    /// Cancel-safe.
    pub(crate) async fn failed(&mut self) -> ServerError {
        while !self.0.is_empty() {
            let tasks = self.0.iter_mut().map(|part| (&mut part.task).boxed());
            let (result, index, _) = select_all(tasks).await;
            let Part { name, .. } = self.0.remove(index);
            match result {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(source) => return ServerError::Panicked { part: name, source },
            }
        }
        std::future::pending().await
    }

    /// Stops the tasks in the order in which they were started. A task that does not end within its
    /// share of the time is aborted.
    pub(crate) async fn stop(self, within: Duration) {
        let end = Instant::now() + within;
        let count = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        for (left, Part { name, stop, task }) in (1..=count).rev().zip(self.0) {
            stop.cancel();
            let now = Instant::now();
            let share = end.saturating_duration_since(now) / left;
            match timeout_at(now + share, task).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => warn!(part = name, %error, "Part of the server failed"),
                Ok(Err(error)) => warn!(part = name, %error, "Part of the server panicked"),
                Err(_) => {
                    warn!(part = name, "Part of the server did not stop in time, aborting it");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn failure_of_a_part_is_returned_and_the_others_are_still_stopped() {
        let mut parts = Parts::default();
        parts.spawn("idle", CancellationToken::cancelled_owned);
        parts.spawn("done", async |_| ());
        parts.spawn_fallible("failing", async |_| Err(ServerError::PortZero));
        assert!(matches!(parts.failed().await, ServerError::PortZero));
        assert!(parts.failed().now_or_never().is_none());
        parts.stop(Duration::from_secs(20)).await;
    }

    #[tokio::test]
    async fn panic_of_a_part_is_a_failure() {
        let mut parts = Parts::default();
        parts.spawn("panicking", async |_| panic!("on purpose"));
        let error = parts.failed().await;
        assert!(matches!(error, ServerError::Panicked { part: "panicking", .. }), "{error}");
    }

    #[tokio::test]
    async fn a_part_that_hangs_leaves_time_to_the_parts_after_it() {
        let mut parts = Parts::default();
        parts.spawn("hanging", async |_| std::future::pending().await);
        let (stopped, is_stopped) = tokio::sync::oneshot::channel();
        parts.spawn("next", async |stop| {
            stop.cancelled().await;
            stopped.send(()).unwrap();
        });
        parts.stop(Duration::from_millis(100)).await;
        is_stopped.await.expect("stopped, not aborted");
    }
}

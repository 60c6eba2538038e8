//! The thread of a blocking client.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

use crate::error::DiscoverError;

/// A thread that drives the client's runtime, so that background tasks run between calls.
pub(super) struct RuntimeThread {
    handle: Handle,
    /// Ends the thread when it is dropped.
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

// === impl RuntimeThread ===

impl RuntimeThread {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let join = thread::Builder::new().name("portolan-client".to_owned()).spawn(move || {
            // The sender is only ever dropped.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, running: Mutex::new(Some((stop, join))) })
    }

    /// Runs the future on the runtime and blocks, which also works inside another runtime.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, DiscoverError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        // The task is joined below: a runtime that has ended drops it together with the sender.
        self.handle.spawn(async move { drop(sender.send(work.await)) });
        receiver.recv().map_err(|_| DiscoverError::Closed)
    }

    /// Calls the function so that it can start tasks on the runtime.
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _runtime = self.handle.enter();
        work()
    }

    pub(super) fn stop(&self) {
        let Some((stop, join)) = self.running.lock().take() else { return };
        drop(stop);
        // A thread that panicked has ended as well; a thread cannot join itself.
        if join.thread().id() != thread::current().id() {
            let _ = join.join();
        }
    }
}

impl Drop for RuntimeThread {
    fn drop(&mut self) {
        self.stop();
    }
}

//! The thread that receives from real sockets.
//!
//! It is not a task of the program's runtime: there, each datagram of a flood wakes a worker of the runtime, by epoll(7), also
//! while the receive loop pauses, and decoding competes with the tasks that the program is there for. While this thread
//! sleeps, a datagram wakes nobody.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tracing::debug;

const NAME: &str = "portolan-rx";
/// Added to the niceness of the process. If every processor is busy, the thread still gets about a tenth of one, so that genuine
/// messages are received.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// A thread with a runtime of its own. Dropping it waits for its end, so it must have been told to end before.
#[derive(Debug)]
pub(crate) struct ReceiveThread(Mutex<Option<JoinHandle<()>>>);

/// The runtime of the thread. It can be dropped within another runtime, which is a panic with a bare one.
#[derive(Debug)]
pub(crate) struct ReceiveRuntime(Option<Runtime>);

// === impl ReceiveRuntime ===

impl ReceiveRuntime {
    pub(crate) fn new() -> io::Result<Self> {
        Builder::new_current_thread().enable_io().enable_time().build().map(|it| Self(Some(it)))
    }

    /// Runs the function within the runtime, as sockets must be opened.
    pub(crate) fn within<T>(&self, action: impl FnOnce() -> T) -> T {
        let _entered = self.0.as_ref().map(Runtime::enter);
        action()
    }

    fn block_on(&self, loops: impl Future<Output = ()>) {
        if let Some(runtime) = &self.0 {
            runtime.block_on(loops);
        }
    }
}

impl Drop for ReceiveRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl ReceiveThread ===

impl ReceiveThread {
    /// Runs the loops, which end on their own.
    pub(crate) fn spawn(
        runtime: ReceiveRuntime,
        loops: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        let thread = std::thread::Builder::new().name(NAME.to_owned()).spawn(move || {
            lower_priority();
            runtime.block_on(loops);
        })?;
        Ok(Self(Mutex::new(Some(thread))))
    }

    /// Waits until the thread has ended: it pauses for less than a millisecond.
    pub(crate) fn join(&self) {
        if let Some(thread) = self.0.lock().take()
            && thread.join().is_err()
        {
            debug!("The receive thread has panicked");
        }
    }
}

impl Drop for ReceiveThread {
    fn drop(&mut self) {
        self.join();
    }
}

/// Lets other threads of the program go first if both want the processor.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        // On Linux the niceness belongs to the thread, and a process id that is a thread id means that thread.
        let thread = Some(rustix::thread::gettid());
        let lowered = getpriority_process(thread)
            .and_then(|niceness| setpriority_process(thread, niceness + NICE));
        if let Err(error) = lowered {
            debug!(%error, "Priority of the receive thread not lowered");
        }
    }
}

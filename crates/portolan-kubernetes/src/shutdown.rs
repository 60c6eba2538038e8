//! The signals that end a server.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// SIGTERM and SIGINT.
pub(crate) struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
}

/// Installs the handlers.
pub(crate) fn signals() -> Result<ShutdownSignals, Failure> {
    let open = |kind| {
        signal(kind).map_err(|error| Failure::failed(format_args!("cannot catch signals: {error}")))
    };
    let (terminate, interrupt) = (open(SignalKind::terminate())?, open(SignalKind::interrupt())?);
    Ok(ShutdownSignals { terminate, interrupt })
}

// === impl ShutdownSignals ===

impl ShutdownSignals {
    /// Waits for a signal.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

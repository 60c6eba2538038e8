//! Graceful shutdown on SIGTERM, SIGINT and SIGHUP.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Receives the signals that request a shutdown.
pub(crate) struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the parent process ignores SIGHUP, as nohup(1) does.
    hangup: Option<Signal>,
}

/// Installs the signal handlers.
pub(crate) fn signals() -> Result<ShutdownSignals, Failure> {
    let open = || -> io::Result<ShutdownSignals> {
        Ok(ShutdownSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: (!is_hangup_ignored()).then(|| signal(SignalKind::hangup())).transpose()?,
        })
    };
    open().map_err(|error| Failure::failed(format_args!("cannot install signal handlers: {error}")))
}

impl ShutdownSignals {
    /// Waits for the next signal.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = hung_up(&mut self.hangup) => {}
        }
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => _ = hangup.recv().await,
        None => std::future::pending().await,
    }
}

fn is_hangup_ignored() -> bool {
    // SIGHUP is signal 1.
    portolan_host_facts::ignored_signals() & 1 != 0
}

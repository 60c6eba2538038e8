//! SIGTERM and SIGINT: the wish to end in good order.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Waits for the first signal that asks us to end.
pub(crate) struct Requested {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// From now on the signals are ours to answer.
pub(crate) fn requested() -> Result<Requested, Failure> {
    let open = || -> io::Result<Requested> {
        Ok(Requested {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    };
    open().map_err(|error| Failure::failed(format_args!("cannot listen for signals: {error}")))
}

impl Requested {
    /// Returns when somebody asks us to end, with Ctrl-C, SIGTERM or by closing the terminal.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

//! Graceful shutdown on SIGTERM, SIGINT and SIGHUP.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{CommandResult, Exit, Failure};

/// Receives the signals that request a shutdown.
pub(crate) struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the parent process ignores SIGHUP, as nohup(1) does.
    hangup: Option<Signal>,
}

/// Installs the signal handlers, without that of SIGHUP, which has another use.
pub(crate) fn signals_but_hangup() -> Result<ShutdownSignals, Failure> {
    Ok(ShutdownSignals { hangup: None, ..signals()? })
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
            () = received(&mut self.hangup) => {}
        }
    }
}

/// Runs a command that has no shutdown of its own, until a signal ends it: the command is dropped, which removes its line of
/// progress, and the process dies of the signal, as a shell expects that runs it in a loop.
pub(crate) async fn or_interrupted(command: impl Future<Output = CommandResult>) -> CommandResult {
    // Before the command shows anything.
    let mut interrupt = caught(SignalKind::interrupt());
    let mut terminate = caught(SignalKind::terminate());
    let mut hangup = caught(SignalKind::hangup());
    let kind = tokio::select! {
        biased;
        result = command => return result,
        () = received(&mut interrupt) => SignalKind::interrupt(),
        () = received(&mut terminate) => SignalKind::terminate(),
        () = received(&mut hangup) => SignalKind::hangup(),
    };
    let number = kind.as_raw_value();
    // It returns only if the signal cannot be raised.
    _ = signal_hook::low_level::emulate_default_handler(number);
    Ok(Exit::Child(u8::try_from(128 + number).unwrap_or(u8::MAX)))
}

/// Catches a signal, unless the parent process ignores it.
fn caught(kind: SignalKind) -> Option<Signal> {
    let is_ignored = portolan_host_facts::ignored_signals() & (1 << (kind.as_raw_value() - 1)) != 0;
    if is_ignored { None } else { signal(kind).ok() }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether the parent process ignores SIGHUP, as nohup(1) does.
pub(crate) fn is_hangup_ignored() -> bool {
    // SIGHUP is signal 1.
    portolan_host_facts::ignored_signals() & 1 != 0
}

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

/// Runs a command that has no shutdown of its own, until a signal ends it: the command is dropped, which removes its line of
/// progress, and the process dies of the signal, as a shell expects that runs it in a loop.
pub(crate) async fn or_interrupted(command: impl Future<Output = CommandResult>) -> CommandResult {
    // Before the command begins, so that no signal is missed once it has shown something.
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [mut interrupt, mut terminate, mut hangup] = kinds.map(Ending::register);
    let ended_by = async {
        tokio::select! {
            number = interrupt.received() => number,
            number = terminate.received() => number,
            number = hangup.received() => number,
        }
    };
    let number = tokio::select! {
        biased;
        result = command => return result,
        number = ended_by => number,
    };
    // It returns only if the signal cannot be raised.
    _ = signal_hook::low_level::emulate_default_handler(number);
    Ok(Exit::Child(u8::try_from(128 + number).unwrap_or(u8::MAX)))
}

/// A signal that ends a command.
struct Ending {
    number: i32,
    /// `None` if the parent process ignores the signal: it stays ignored.
    signal: Option<Signal>,
}

impl Ending {
    fn register(kind: SignalKind) -> Self {
        let number = kind.as_raw_value();
        let is_ignored = portolan_host_facts::ignored_signals() & (1 << (number - 1)) != 0;
        Self { number, signal: if is_ignored { None } else { signal(kind).ok() } }
    }

    /// Waits for the signal and returns its number.
    async fn received(&mut self) -> i32 {
        match &mut self.signal {
            Some(signal) => _ = signal.recv().await,
            None => std::future::pending().await,
        }
        self.number
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

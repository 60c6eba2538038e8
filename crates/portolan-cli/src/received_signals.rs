//! The signals that a command receives for its programs, and whether a terminal has sent them.

use std::os::raw::c_int;

use rustix::process::Signal;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH,
};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use tokio::sync::mpsc;

use crate::exit::Failure;

/// Every signal that ends a process by default and can be caught, except those of its own faults.
const SIGNALS: [c_int; 10] =
    [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGIO, SIGWINCH];
/// How many signals wait to be handled; the kernel keeps no more than one of each either.
const QUEUE: usize = 32;

/// A received signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) signal: Signal,
    /// Whether a terminal sent it to its whole foreground process group.
    pub(crate) by_terminal: bool,
}

/// Receives the signals in the order of their arrival.
pub(crate) struct ReceivedSignals(mpsc::Receiver<Received>);

/// Returns every signal that a command catches for its programs.
pub(crate) fn caught() -> impl Iterator<Item = c_int> {
    let ignored = portolan_host_facts::ignored_signals();
    SIGNALS.into_iter().filter(move |number| ignored & (1 << (number - 1)) == 0)
}

// === impl ReceivedSignals ===

impl ReceivedSignals {
    /// Catches the signals, except those that the parent process ignores, as nohup(1) does with SIGHUP.
    pub(crate) fn start() -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format_args!("cannot catch signals: {error}"));
        let mut signals = SignalsInfo::<WithOrigin>::new(caught()).map_err(failed)?;
        let (to, received) = mpsc::channel(QUEUE);
        let handle = signals.handle();
        let forward = move || {
            for origin in signals.forever() {
                let Some(signal) = Signal::from_named_raw(origin.signal) else { continue };
                let by_terminal = matches!(origin.cause, Cause::Kernel);
                if to.blocking_send(Received { signal, by_terminal }).is_err() {
                    handle.close();
                }
            }
        };
        // It waits for signals until the process ends.
        std::thread::Builder::new().name("signals".to_owned()).spawn(forward).map_err(failed)?;
        Ok(Self(received))
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Received {
        match self.0.recv().await {
            Some(received) => received,
            None => std::future::pending().await,
        }
    }
}

// === impl Received ===

impl Received {
    /// Whether it asks a command to stop its programs.
    pub(crate) fn requests_stop(self) -> bool {
        [Signal::TERM, Signal::INT].contains(&self.signal)
    }
}

//! SIGTERM and SIGINT: the wish to end in good order.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Waits for the first signal that asks us to end.
pub(crate) struct Requested {
    terminate: Signal,
    interrupt: Signal,
    /// None where whoever started us wants us to outlive the terminal, as nohup does.
    hangup: Option<Signal>,
}

/// From now on the signals are ours to answer.
pub(crate) fn requested() -> Result<Requested, Failure> {
    let open = || -> io::Result<Requested> {
        Ok(Requested {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: match is_hangup_ignored() {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
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
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_signals(&status) & 1 != 0
}

/// The signals that are ignored, the first in the lowest bit (proc_pid_status(5)).
fn ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signals_that_a_parent_ignores_are_read() {
        assert_eq!(ignored_signals("SigBlk:\t0\nSigIgn:\t0000000000001001\nSigCgt:\t1\n"), 0x1001);
        assert_eq!(ignored_signals("Name:\tx\n"), 0);
    }
}

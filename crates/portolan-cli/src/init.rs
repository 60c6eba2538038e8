//! What Portolan does as the first process of a container, whose number is 1.
//!
//! The kernel gives it every orphan of the container, as those of `docker exec`, and no signal without a handler. So the command
//! itself is a child, and this process does nothing but pass signals on and reap.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use portolan_supervisor::child::exit_code;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use crate::exit::{CommandResult, Exit, Failure};
use crate::received_signals;

/// Whether this process is the first one of a container.
pub(crate) fn is_needed() -> bool {
    std::process::id() == 1
}

/// Runs the same command as a child, and returns its exit status.
pub(crate) fn run() -> CommandResult {
    let failed = |error: io::Error| {
        Failure::failed(format_args!("cannot start the command below process 1: {error}"))
    };
    let caught = received_signals::caught().chain([SIGCHLD]);
    let mut signals = SignalsInfo::<WithOrigin>::new(caught).map_err(failed)?;
    let mut arguments = std::env::args_os();
    arguments.next();
    let child = Command::new("/proc/self/exe").args(arguments).spawn().map_err(failed)?;
    let child = Pid::from_child(&child);
    for origin in signals.forever() {
        if origin.signal == SIGCHLD {
            if let Some(status) = reap(child) {
                return Ok(Exit::Child(exit_code(status)));
            }
        } else if !matches!(origin.cause, Cause::Kernel)
            && let Some(signal) = Signal::from_named_raw(origin.signal)
        {
            // A terminal has sent it to the child as well.
            _ = kill_process(child, signal);
        }
    }
    unreachable!("the iterator of signals does not end")
}

/// Reaps what has ended, and returns the status of the child if it has.
fn reap(child: Pid) -> Option<ExitStatus> {
    let mut ended = None;
    // Signals of one kind are not counted, so there may be several, and an error says that there is none.
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            ended = Some(ExitStatus::from_raw(status.as_raw()));
        }
    }
    ended
}

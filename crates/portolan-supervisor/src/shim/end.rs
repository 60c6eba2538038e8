//! Ends the descendants of a shim.

use std::time::Duration;

use portolan_host_facts::{ProcessStat, child_processes, descendants};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

/// The time between SIGTERM and SIGKILL, if Portolan was killed. Nothing is left within a second.
const GRACE: Duration = Duration::from_millis(500);
/// The time in which SIGKILL is repeated: a process may have started another one meanwhile.
const KILLING: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(10);

/// Ends the program and every other descendant.
pub(super) fn all() {
    // Nobody sends the program a signal any more.
    if !has_children() {
        return;
    }
    if signal_descendants(own(), Signal::TERM) && !wait(GRACE, || {}) {
        let kill = || _ = signal_descendants(own(), Signal::KILL);
        kill();
        wait(KILLING, kill);
    }
}

/// Waits for children that have ended, except the program.
pub(super) fn reap_others(program: Pid) {
    for child in child_processes(own()) {
        if let Some(pid) = Pid::from_raw(child.cast_signed()).filter(|pid| *pid != program) {
            _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// Waits for children that have ended. Returns whether others are left. A descendant of a subreaper is a child once its parent has ended, so
/// without a child there is no descendant; this needs no look at every process of the host.
fn has_children() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Sends the signal to every descendant of the process. Returns whether there is one.
pub(crate) fn signal_descendants(root: u32, signal: Signal) -> bool {
    let found = descendants(root);
    for (pid, stat) in &found {
        signal_process(*pid, stat.start_time, signal);
    }
    !found.is_empty()
}

/// Sends the signal if the process is still the one that started at this time: the number can be that of another process by now, but the
/// descriptor cannot. Errors are ignored: it may be gone already.
pub(crate) fn signal_process(pid: u32, start_time: u64, signal: Signal) {
    let Some(number) = Pid::from_raw(pid.cast_signed()) else { return };
    let is_same = || ProcessStat::read(pid).is_some_and(|now| now.start_time == start_time);
    match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        Ok(descriptor) if is_same() => {
            _ = rustix::process::pidfd_send_signal(descriptor, signal);
        }
        Err(Errno::NOSYS) if is_same() => {
            _ = rustix::process::kill_process(number, signal);
        }
        _ => {}
    }
}

/// Waits until no descendant is left. Returns whether there is none.
fn wait(limit: Duration, mut again: impl FnMut()) -> bool {
    let mut left = limit;
    loop {
        if !has_children() {
            return true;
        }
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(INTERVAL);
        left = left.saturating_sub(INTERVAL);
        again();
    }
}

fn own() -> u32 {
    std::process::id()
}

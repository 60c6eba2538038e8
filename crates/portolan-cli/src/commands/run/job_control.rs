//! Job control (credentials(7)): a shell that has started `portolan run` on a terminal is told when its program stops. Ctrl-Z stops both,
//! as they are in the same process group, but some programs stop themselves alone.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portolan_host_facts::ProcessStat;
use portolan_supervisor::Service;
use portolan_supervisor::child::{Child, Terminal};
use rustix::process::Signal;
use signal_hook::consts::{SIGCONT, SIGTSTP};

use crate::exit::Failure;

/// How long a stop must last: by then the rest of the process group has stopped too, or has been continued.
const SETTLED: Duration = Duration::from_millis(50);

/// Stops together with a program that shares the terminal.
pub(super) struct JobControl {
    pub(super) terminal: Terminal,
    /// Whether a shell of this session notices a stop, and can continue the process group.
    has_shell: bool,
    /// Set by SIGCONT.
    continued: Arc<AtomicBool>,
}

// === impl JobControl ===

impl JobControl {
    /// Takes effect before the program starts: the terminal may stop it at once.
    pub(super) fn of(terminal: Terminal) -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format_args!("cannot catch signals: {error}"));
        let shares_terminal = terminal == Terminal::Shared;
        let (has_shell, continued) = (shares_terminal && has_shell(), Arc::default());
        if shares_terminal {
            signal_hook::flag::register(SIGCONT, Arc::clone(&continued)).map_err(failed)?;
        }
        let is_ignored = portolan_host_facts::ignored_signals() & (1 << (SIGTSTP - 1)) != 0;
        if shares_terminal && !has_shell && !is_ignored {
            // Nobody could continue this process.
            signal_hook::flag::register(SIGTSTP, Arc::default()).map_err(failed)?;
        }
        Ok(Self { terminal, has_shell, continued })
    }

    /// Waits until a signal has stopped the program, if it shares the terminal.
    pub(super) fn stopped(&self, service: &Service) -> impl Future<Output = ()> + use<> {
        let stopped = service.child().stopped().filter(|_| self.terminal == Terminal::Shared);
        async move {
            match stopped {
                Some(stopped) => stopped.notified().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Stops this process as well, until it is continued, and then continues the program. Without a shell, the program goes on.
    pub(super) async fn follow(&self, child: &Child) {
        tokio::time::sleep(SETTLED).await;
        let was_continued = self.continued.swap(false, Ordering::Relaxed);
        if !is_stopped(child) {
            return;
        }
        if self.has_shell && !was_continued {
            _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
            self.continued.store(false, Ordering::Relaxed);
        }
        // A shell has continued the whole process group; kill(1) this process alone.
        if is_stopped(child) {
            child.forward(Signal::CONT);
        }
    }
}

fn is_stopped(child: &Child) -> bool {
    child.pid().and_then(ProcessStat::read).is_some_and(|stat| stat.state == 'T')
}

/// Whether an ancestor in this session, but in another process group, has started this process group. In a process namespace the
/// ancestor may be outside, and is then not seen.
fn has_shell() -> bool {
    let Some(own) = ProcessStat::read(std::process::id()) else { return false };
    let mut ancestor = own.parent;
    while let Some(stat) = ancestor.and_then(ProcessStat::read) {
        if own.session.is_none() || stat.session != own.session {
            return false;
        }
        if stat.group != own.group {
            return true;
        }
        ancestor = stat.parent;
    }
    false
}

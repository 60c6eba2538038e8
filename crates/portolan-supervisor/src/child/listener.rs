//! Who listens on a program's port: the program, or somebody who was faster.

use std::time::Duration;

use portolan_host_facts::{Process, ProcessStat, listening_process};
use rustix::process::Pid;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::handoff::Helpers;

/// How long a connection to a port of this host may take.
const CONNECT: Duration = Duration::from_millis(500);
/// Ancestors beyond this are not looked at: process ids change hands while one looks.
const GENERATIONS: usize = 64;

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listener {
    /// Nobody yet.
    Nobody,
    /// The program, or what it started, or somebody whom the system does not show us.
    Own,
    /// Somebody else.
    Stranger(Process),
}

/// The processes that belong to a program.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    child: Pid,
    /// The program's process group, or ours where it shares our terminal.
    group: Option<u32>,
    helpers: Helpers,
}

// === impl Family ===

impl Family {
    /// Of a program that was just started.
    pub(super) fn new(child: Pid) -> Self {
        let group = ProcessStat::read(pid(child)).and_then(|stat| stat.group);
        Self { child, group, helpers: Helpers::Nobody }
    }

    /// The same, and those who listen on its behalf.
    pub(crate) fn with(self, helpers: Helpers) -> Self {
        Self { helpers, ..self }
    }

    /// Who listens on the port, reached at this address.
    pub(crate) async fn listener_on(&self, address: &str, port: u16) -> Listener {
        let connected = timeout(CONNECT, TcpStream::connect(address)).await;
        match matches!(connected, Ok(Ok(_))) {
            true => self.stranger_on(port).map_or(Listener::Own, Listener::Stranger),
            false => Listener::Nobody,
        }
    }

    /// The stranger who listens on the port; none where nobody is seen there, or one of the family.
    pub(crate) fn stranger_on(&self, port: u16) -> Option<Process> {
        let process = listening_process(port)?;
        let known = self.has(&process) || self.helpers.include(&process);
        (!known).then_some(process)
    }

    /// Whether the process is the program, in its group, or descends from it.
    fn has(&self, process: &Process) -> bool {
        let mut next = Some(process.pid);
        for _ in 0..GENERATIONS {
            let Some(id) = next else { return false };
            let stat = ProcessStat::read(id);
            let group = stat.and_then(|stat| stat.group);
            if id == pid(self.child) || (group.is_some() && group == self.group) {
                return true;
            }
            next = stat.and_then(|stat| stat.parent);
        }
        false
    }
}

fn pid(process: Pid) -> u32 {
    process.as_raw_pid().cast_unsigned()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn family(child: Pid) -> Family {
        // A group that nobody is in.
        Family { group: Some(u32::MAX), ..Family::new(child) }
    }

    #[tokio::test]
    async fn a_listener_belongs_to_who_descends_from_the_program() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (text, port) = (address.to_string(), address.port());
        let (own, parent) = (rustix::process::getpid(), rustix::process::getppid().unwrap());
        for ours in [own, parent] {
            assert_eq!(family(ours).listener_on(&text, port).await, Listener::Own);
        }
        let mut other = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let sleeper = Pid::from_raw(other.id().cast_signed()).unwrap();
        let found = family(sleeper).listener_on(&text, port).await;
        let Listener::Stranger(stranger) = found else { panic!("{found:?}") };
        assert_eq!(stranger.pid, std::process::id());
        // What docker starts does not descend from the command that asked for it.
        let helped = family(sleeper).with(Helpers::Anybody);
        assert_eq!(helped.listener_on(&text, port).await, Listener::Own);
        drop(listener);
        assert_eq!(family(sleeper).listener_on(&text, port).await, Listener::Nobody);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

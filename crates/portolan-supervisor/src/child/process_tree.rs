//! The processes that belong to a program, and whether a listener is one of them.

use std::time::Duration;

use portolan_host_facts::{Process, ProcessStat, listening_process};
use rustix::process::Pid;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::handoff::Helpers;

/// Timeout of a connection within this host.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// The maximum number of ancestors that are examined. It bounds the search if process ids are
/// reused meanwhile.
const MAX_ANCESTORS: usize = 64;

/// Which process listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenerOwner {
    /// No process listens.
    None,
    /// The program or its descendant, or a process that the kernel does not show.
    Own,
    /// A foreign process.
    Foreign(Process),
}

/// The processes that belong to a program.
#[derive(Debug, Clone)]
pub(crate) struct ProcessTree {
    child: Pid,
    /// The process group of the program, which is that of this process with
    /// [`Terminal::Shared`](super::Terminal::Shared).
    group: Option<u32>,
    helpers: Helpers,
}

// === impl ProcessTree ===

impl ProcessTree {
    /// Creates the tree of a program that was just started.
    pub(super) fn new(child: Pid) -> Self {
        let group = ProcessStat::read(pid(child)).and_then(|stat| stat.group);
        Self { child, group, helpers: Helpers::None }
    }

    /// Adds the processes that listen on behalf of the program.
    pub(crate) fn with(self, helpers: Helpers) -> Self {
        Self { helpers, ..self }
    }

    /// Returns which process listens on the port, reachable at this address.
    pub(crate) async fn listener_on(&self, address: &str, port: u16) -> ListenerOwner {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        match matches!(connected, Ok(Ok(_))) {
            true => {
                self.foreign_listener_on(port).map_or(ListenerOwner::Own, ListenerOwner::Foreign)
            }
            false => ListenerOwner::None,
        }
    }

    /// Returns the foreign process that listens on the port; `None` if no listener is visible or it
    /// belongs to the program.
    pub(crate) fn foreign_listener_on(&self, port: u16) -> Option<Process> {
        let process = listening_process(port)?;
        let known = self.has(&process) || self.helpers.include(&process);
        (!known).then_some(process)
    }

    /// Returns whether the process is the program, is in its group, or descends from it.
    fn has(&self, process: &Process) -> bool {
        let mut next = Some(process.pid);
        for _ in 0..MAX_ANCESTORS {
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

    fn tree(child: Pid) -> ProcessTree {
        // A group without members.
        ProcessTree { group: Some(u32::MAX), ..ProcessTree::new(child) }
    }

    #[tokio::test]
    async fn listener_belongs_to_the_program_if_it_descends_from_it() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (text, port) = (address.to_string(), address.port());
        let (own, parent) = (rustix::process::getpid(), rustix::process::getppid().unwrap());
        for ours in [own, parent] {
            assert_eq!(tree(ours).listener_on(&text, port).await, ListenerOwner::Own);
        }
        let mut other = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let sleeper = Pid::from_raw(other.id().cast_signed()).unwrap();
        let found = tree(sleeper).listener_on(&text, port).await;
        let ListenerOwner::Foreign(foreign) = found else { panic!("{found:?}") };
        assert_eq!(foreign.pid, std::process::id());
        // A container does not descend from the docker command.
        let helped = tree(sleeper).with(Helpers::Any);
        assert_eq!(helped.listener_on(&text, port).await, ListenerOwner::Own);
        drop(listener);
        // A process that a concurrent test forks has the socket until its exec.
        let closed = async {
            while tree(sleeper).listener_on(&text, port).await != ListenerOwner::None {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), closed).await.unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

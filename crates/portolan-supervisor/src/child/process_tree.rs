//! The processes that belong to a program, and whether a listener is one of them.

use std::time::Duration;

use portolan_host_facts::{
    Deputies, ForeignListener, PortListeners, Process, ProcessFamily, Socket,
};
use rustix::process::Pid;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::handoff::Helpers;

/// Timeout of a connection within this host.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Which process listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenerOwner {
    /// No process listens.
    None,
    /// Only the program and its descendants.
    Own,
    /// A foreign process, alone or beside the program.
    Foreign(ForeignListener),
}

/// The processes that belong to a program.
#[derive(Debug, Clone)]
pub(crate) struct ProcessTree {
    family: ProcessFamily,
    helpers: Helpers,
}

// === impl ProcessTree ===

impl ProcessTree {
    /// Creates the tree of a program that was just started.
    pub(super) fn new(child: Pid) -> Self {
        let family = ProcessFamily::of(child.as_raw_pid().cast_unsigned());
        Self { family, helpers: Helpers::None }
    }

    /// Adds the processes that listen on behalf of the program.
    pub(crate) fn with(self, helpers: Helpers) -> Self {
        Self { helpers, ..self }
    }

    /// Returns which process listens on the port, reachable at this address.
    pub(crate) async fn listener_on(&self, address: &str, port: u16) -> ListenerOwner {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        match matches!(connected, Ok(Ok(_))) {
            true => self.owner_of(port),
            false => ListenerOwner::None,
        }
    }

    /// Returns which process listens on the port, at any address.
    pub(crate) fn owner_of(&self, port: u16) -> ListenerOwner {
        let PortListeners { own, foreign } = self.listeners_on(port);
        match foreign {
            Some(foreign) => ListenerOwner::Foreign(foreign),
            None if own.is_empty() => ListenerOwner::None,
            None => ListenerOwner::Own,
        }
    }

    /// Returns the foreign process that listens on the port; `None` if no process listens or the program does.
    pub(crate) fn foreign_listener_on(&self, port: u16) -> Option<ForeignListener> {
        self.listeners_on(port).foreign
    }

    /// Returns the sockets of the program that listen on the port.
    pub(crate) fn own_sockets(&self, port: u16) -> Vec<Socket> {
        self.listeners_on(port).own
    }

    /// Returns the other TCP ports on which the program listens.
    pub(crate) fn ports_beside(&self, ports: &[u16]) -> Vec<u16> {
        let mut found = self.family.listening_ports();
        found.retain(|port| !ports.contains(port));
        found
    }

    fn listeners_on(&self, port: u16) -> PortListeners {
        let includes = |process: &Process| self.helpers.include(process);
        let hidden = self.helpers != Helpers::None;
        self.family.listeners_on(port, Deputies { includes: &includes, hidden })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::process::CommandExt;

    use super::*;

    #[tokio::test]
    async fn listener_belongs_to_the_program_if_it_descends_from_it() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (text, port) = (address.to_string(), address.port());
        let (tree, own) = (ProcessTree::new, rustix::process::getpid());
        assert_eq!(tree(own).listener_on(&text, port).await, ListenerOwner::Own);
        let mut other = std::process::Command::new("sleep");
        let mut other = other.arg("100").process_group(0).spawn().unwrap();
        let sleeper = Pid::from_raw(other.id().cast_signed()).unwrap();
        let found = tree(sleeper).listener_on(&text, port).await;
        let ListenerOwner::Foreign(ForeignListener::Process(foreign)) = found else {
            panic!("{found:?}")
        };
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

//! Who listens on a program's port: the program, or somebody who was faster.

use std::fs;
use std::time::Duration;

use portolan_port_allocator::Process;
use rustix::process::Pid;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection to a port of this host may take.
const CONNECT: Duration = Duration::from_millis(500);
/// Programs that leave the listening to a service of the system, which is not among what they
/// start: who listens for them cannot be told from a stranger.
const DELEGATES: [&str; 6] = ["docker", "podman", "nerdctl", "kubectl", "ssh", "systemd-run"];
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
    pub(super) child: Pid,
    pub(super) group: Pid,
    pub(super) delegates: bool,
}

// === impl Family ===

impl Family {
    /// Of a program of this name.
    pub(super) fn new(child: Pid, group: Pid, program: &str) -> Self {
        Self { child, group, delegates: DELEGATES.contains(&program) }
    }

    /// Who listens on the port, reached at this address.
    pub(crate) async fn listener_on(&self, address: &str, port: u16) -> Listener {
        let connected = timeout(CONNECT, TcpStream::connect(address)).await;
        if !matches!(connected, Ok(Ok(_))) {
            return Listener::Nobody;
        }
        match portolan_port_allocator::listener_pid(port) {
            Some(process) if !self.delegates && !self.has(&process) => Listener::Stranger(process),
            _ => Listener::Own,
        }
    }

    /// Whether the process is the program, in its group, or descends from it.
    fn has(&self, process: &Process) -> bool {
        let Some(pid) = Pid::from_raw(process.pid.cast_signed()) else { return false };
        let group = rustix::process::getpgid(Some(pid)).ok();
        group == Some(self.group) || self.is_ancestor_of(pid)
    }

    fn is_ancestor_of(&self, pid: Pid) -> bool {
        let line = std::iter::successors(Some(pid), |pid| parent_of(*pid));
        line.take(GENERATIONS).any(|pid| pid == self.child)
    }
}

/// The parent is the second field after the name (proc_pid_stat(5)), which stands in parentheses
/// and may hold anything.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Pid::from_raw(fields.split_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn family(child: Pid, program: &str) -> Family {
        // A group that nobody is in.
        Family::new(child, Pid::from_raw(i32::MAX).unwrap(), program)
    }

    #[tokio::test]
    async fn a_listener_belongs_to_who_descends_from_the_program() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (text, port) = (address.to_string(), address.port());
        let (own, parent) = (rustix::process::getpid(), rustix::process::getppid().unwrap());
        for ours in [own, parent] {
            assert_eq!(family(ours, "x").listener_on(&text, port).await, Listener::Own);
        }
        let mut other = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let sleeper = Pid::from_raw(other.id().cast_signed()).unwrap();
        let found = family(sleeper, "x").listener_on(&text, port).await;
        let Listener::Stranger(stranger) = found else { panic!("{found:?}") };
        assert_eq!(stranger.pid, std::process::id());
        // What docker starts does not descend from the command that asked for it.
        assert_eq!(family(sleeper, "docker").listener_on(&text, port).await, Listener::Own);
        drop(listener);
        assert_eq!(family(sleeper, "x").listener_on(&text, port).await, Listener::Nobody);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

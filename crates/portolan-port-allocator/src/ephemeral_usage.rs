//! How much of the ephemeral range is left for connections to come.

use std::fs;

use crate::sockets;
use crate::system_ports::SystemPorts;

/// How many ports the system has for outgoing connections, and how many of them are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EphemeralUsage {
    /// The ports that it may give to connections.
    pub ports: usize,
    /// Those of them that some socket of TCP has, connections that wait for their end included.
    pub in_use: usize,
    /// Sockets of TCP that only wait for the end of a connection, on whichever port; none where the
    /// system does not tell.
    pub time_wait: Option<usize>,
}

// === impl EphemeralUsage ===

impl EphemeralUsage {
    /// What is in use now.
    pub fn now(system: &SystemPorts) -> Self {
        let ports = system.ephemeral_range().ports();
        let in_use = sockets::ports_in_use();
        // `thread-self`, because a thread may have moved to another network namespace.
        let counts = fs::read_to_string("/proc/thread-self/net/sockstat").unwrap_or_default();
        Self {
            ports: ports.filter(|port| system.is_exposed(*port)).count(),
            in_use: in_use.into_iter().filter(|port| system.is_exposed(*port)).count(),
            time_wait: parse_time_wait(&counts),
        }
    }

    /// How much of them is in use, in percent.
    pub fn percent(&self) -> usize {
        self.in_use * 100 / self.ports.max(1)
    }
}

/// Reads `TCP: inuse 5 orphan 0 tw 12 alloc 8 mem 1`.
fn parse_time_wait(text: &str) -> Option<usize> {
    let mut words = text.lines().find(|line| line.starts_with("TCP:"))?.split_whitespace();
    words.find(|word| *word == "tw")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_in_the_range_counts() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let system = SystemPorts::parse(&format!("{port} {port}"), "");
        let usage = EphemeralUsage::now(&system);
        assert_eq!((usage.ports, usage.in_use, usage.percent()), (1, 1, 100));
        assert!(usage.time_wait.is_some());
    }

    #[test]
    fn a_range_that_is_kept_wholly_is_not_used_up() {
        let usage = EphemeralUsage::now(&SystemPorts::parse("40000 40001", "40000-40001"));
        assert_eq!((usage.ports, usage.percent()), (0, 0));
    }

    #[test]
    fn the_sockets_that_wait_are_read_where_they_are_told() {
        let text = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 12 alloc 8 mem 1\n";
        assert_eq!(parse_time_wait(text), Some(12));
        assert_eq!(parse_time_wait("TCP: inuse 5"), None);
        assert_eq!(parse_time_wait(""), None);
    }
}

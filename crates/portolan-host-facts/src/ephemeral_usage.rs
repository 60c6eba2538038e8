//! How full the ephemeral port range is.

use crate::system_ports::SystemPorts;
use crate::{files, sockets};

/// How many ephemeral ports there are, and how many of them are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EphemeralUsage {
    /// The ports that the kernel may choose for connections.
    pub ports: usize,
    /// Those of them that a TCP socket has, connections in TIME-WAIT included.
    pub in_use: usize,
    /// TCP connections in TIME-WAIT, on any port; `None` if the kernel does not say.
    pub time_wait: Option<usize>,
}

// === impl EphemeralUsage ===

impl EphemeralUsage {
    /// Counts what is in use now.
    pub fn read(system: &SystemPorts) -> Self {
        let is_ephemeral = |port: &u16| system.is_ephemeral(*port);
        // `thread-self`, because a thread may have moved to another network namespace.
        let counts = files::read("/proc/thread-self/net/sockstat");
        Self {
            ports: system.ephemeral_range().ports().filter(is_ephemeral).count(),
            in_use: sockets::tcp_ports().iter().filter(|port| is_ephemeral(port)).count(),
            time_wait: parse_time_wait(&counts),
        }
    }

    /// Returns the share of the ports that is in use, in percent.
    pub fn percent(&self) -> usize {
        self.in_use * 100 / self.ports.max(1)
    }
}

/// Parses `TCP: inuse 5 orphan 0 tw 12 alloc 8 mem 1`.
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
    fn listener_in_range_counts() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let usage = EphemeralUsage::read(&SystemPorts::parse(&format!("{port} {port}"), "", ""));
        assert_eq!((usage.ports, usage.in_use, usage.percent()), (1, 1, 100));
        assert!(usage.time_wait.is_some());
    }

    #[test]
    fn fully_reserved_range_is_not_exhausted() {
        let system = SystemPorts::parse("40000 40001", "40000-40001", "");
        let usage = EphemeralUsage::read(&system);
        assert_eq!((usage.ports, usage.percent()), (0, 0));
    }

    #[test]
    fn connections_in_time_wait_are_parsed_from_sockstat() {
        let text = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 12 alloc 8 mem 1\n";
        assert_eq!(parse_time_wait(text), Some(12));
        for text in ["TCP: inuse 5", "TCP: tw", "TCP: tw x", ""] {
            assert_eq!(parse_time_wait(text), None, "{text:?}");
        }
    }
}

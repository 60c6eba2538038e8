//! Who serves on which port of this host: those with a lease, and everybody else.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::allocator::PortAllocator;
use crate::holder::{Holder, Process};
use crate::processes;
use crate::sockets::{self, Socket};

/// Every port of this host that somebody has a lease on or serves on, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PortUsage {
    /// The leases in force, in the order of the ports.
    #[serde(rename = "ports")]
    pub leases: Vec<LeasedPort>,
    /// Whoever serves on a port without a lease on it, in the order of the ports.
    pub foreign: Vec<PortListener>,
}

/// A lease, and who serves on its port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeasedPort {
    /// The lease.
    #[serde(flatten)]
    pub holder: Holder,
    /// Who serves on the port, whoever it is; nobody before the service has started.
    pub listeners: Vec<PortListener>,
}

/// A process that serves on a port: it listens in TCP, or takes datagrams from anybody in UDP.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PortListener {
    /// The port.
    pub port: u16,
    /// What it serves in.
    pub protocol: SocketProtocol,
    /// The address that it serves on.
    pub address: IpAddr,
    /// The process; none where the system does not tell, as for processes of other users.
    pub process: Option<Process>,
    /// The user whose socket it is; the number where the user has no name.
    pub user: String,
}

/// One of the two protocols that have ports here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

// === impl PortAllocator ===

impl PortAllocator {
    /// Every lease on this host, and every listener without one.
    pub fn port_usage(&self) -> PortUsage {
        // In this order: who gets a lease and listens in between is no foreign process.
        let listeners = listeners_where(|_| true);
        let holders = self.holders();
        PortUsage::of(holders, listeners)
    }

    /// Who serves on the port, with a lease or without.
    pub fn listeners(&self, port: u16) -> Vec<PortListener> {
        listeners_where(|socket| socket.port == port)
    }
}

/// In the order of the ports, each socket's process once for each address.
fn listeners_where(wanted: impl Fn(&Socket) -> bool) -> Vec<PortListener> {
    let (tcp, udp) = sockets::serving();
    let tcp = tcp.into_iter().map(|socket| (SocketProtocol::Tcp, socket));
    let all = tcp.chain(udp.into_iter().map(|socket| (SocketProtocol::Udp, socket)));
    let all: Vec<(SocketProtocol, Socket)> = all.filter(|(_, socket)| wanted(socket)).collect();
    let inodes: Vec<u64> = all.iter().map(|(_, socket)| socket.inode).collect();
    let owners = processes::owners(&inodes);
    let listener = |(protocol, socket): (SocketProtocol, Socket)| PortListener {
        port: socket.port,
        protocol,
        address: socket.address,
        process: owners.get(&socket.inode).cloned(),
        user: processes::user_name(socket.uid),
    };
    // A server may share one address among several sockets (SO_REUSEPORT).
    let distinct: BTreeSet<PortListener> = all.into_iter().map(listener).collect();
    distinct.into_iter().collect()
}

// === impl PortUsage ===

impl PortUsage {
    fn of(holders: Vec<Holder>, mut listeners: Vec<PortListener>) -> Self {
        let leased = |holder: Holder| {
            let listeners = listeners.extract_if(.., |listener| listener.is_on(&holder)).collect();
            LeasedPort { holder, listeners }
        };
        let leases = holders.into_iter().map(leased).collect();
        Self { leases, foreign: listeners }
    }
}

// === impl PortListener ===

impl PortListener {
    /// Where it serves, with the port.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Whether its port is the lease's, in a protocol that is leased.
    fn is_on(&self, holder: &Holder) -> bool {
        let mut leased = holder.protocol.as_str().split('+');
        self.port == holder.port && leased.any(|protocol| protocol == self.protocol.as_str())
    }
}

impl fmt::Display for PortListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some(process) => write!(f, "{process}")?,
            None => write!(f, "a process of user {}", self.user)?,
        }
        write!(f, " on {} ({})", self.socket_address(), self.protocol)
    }
}

// === impl SocketProtocol ===

impl SocketProtocol {
    /// The protocol as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for SocketProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use jiff::Timestamp;
    use portolan_core::Scope;

    use super::*;
    use portolan_reservations::Depth;

    fn holder(port: u16, protocol: &str) -> Holder {
        Holder {
            port,
            protocol: protocol.parse().unwrap(),
            service: "api".parse().unwrap(),
            scope: Scope::default(),
            port_name: None,
            pid: 1,
            user: "ann".to_owned(),
            since: Timestamp::now(),
            alive: true,
            depth: Depth::Claimed,
        }
    }

    fn listener(port: u16, protocol: SocketProtocol) -> PortListener {
        let address = IpAddr::from([127, 0, 0, 1]);
        PortListener { port, protocol, address, process: None, user: "ann".to_owned() }
    }

    #[test]
    fn a_listener_is_shown_with_its_lease_and_not_twice() {
        let all = || {
            let (tcp, udp) = (SocketProtocol::Tcp, SocketProtocol::Udp);
            vec![listener(80, tcp), listener(80, udp), listener(81, tcp)]
        };
        let both = PortUsage::of(vec![holder(80, "tcp+udp")], all());
        assert_eq!((&both.leases[0].listeners[..], &both.foreign[..]), all().split_at(2));
        let one = PortUsage::of(vec![holder(80, "tcp")], all());
        // In UDP the port is not leased.
        assert_eq!((&one.leases[0].listeners[..], &one.foreign[..]), all().split_at(1));
    }

    #[test]
    fn the_sockets_of_this_process_are_seen_in_both_protocols() {
        let tcp = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let udp = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let sockets = [
            (tcp.local_addr().unwrap(), SocketProtocol::Tcp),
            (udp.local_addr().unwrap(), SocketProtocol::Udp),
        ];
        for (address, protocol) in sockets {
            let found = listeners_where(|socket| socket.port == address.port());
            let own = found.iter().find(|listener| listener.protocol == protocol).unwrap();
            assert_eq!(own.socket_address(), address);
            assert_eq!(own.process.as_ref().unwrap().pid, std::process::id());
        }
    }

    #[test]
    fn a_listener_is_named_as_well_as_the_system_allows() {
        let hidden = listener(8080, SocketProtocol::Tcp);
        assert_eq!(hidden.to_string(), "a process of user ann on 127.0.0.1:8080 (tcp)");
        let process = Process { pid: 9, name: "node".into(), user: "ann".into() };
        let known = PortListener { process: Some(process), ..hidden };
        assert_eq!(known.to_string(), "node (pid 9, user ann) on 127.0.0.1:8080 (tcp)");
    }
}

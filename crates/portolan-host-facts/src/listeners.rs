//! Which processes listen on which ports.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::processes::{Process, socket_owners, user_name};
use crate::sockets::{self, Socket};

/// A process that listens on a TCP port, or receives on a UDP port from every peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PortListener {
    /// The port.
    pub port: u16,
    /// The protocol of the socket.
    pub protocol: SocketProtocol,
    /// The address that the socket is bound to.
    pub address: IpAddr,
    /// The process; `None` if this user may not see it, as with processes of other users.
    pub process: Option<Process>,
    /// The name of the user whose socket it is; the user id if the user has no name.
    pub user: String,
}

/// The transport protocol of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Returns the listeners on a port, or on every port for `None`, in the order of the ports.
pub fn port_listeners(port: Option<u16>) -> Vec<PortListener> {
    let (tcp, udp) = sockets::listening();
    let tcp = tcp.into_iter().map(|socket| (SocketProtocol::Tcp, socket));
    let udp = udp.into_iter().map(|socket| (SocketProtocol::Udp, socket));
    let is_wanted = |(_, socket): &(_, Socket)| port.is_none_or(|port| port == socket.port);
    let sockets: Vec<(SocketProtocol, Socket)> = tcp.chain(udp).filter(is_wanted).collect();
    let inodes: Vec<u64> = sockets.iter().map(|(_, socket)| socket.inode).collect();
    let owners = socket_owners(&inodes);
    let listener = |(protocol, socket): (SocketProtocol, Socket)| PortListener {
        port: socket.port,
        protocol,
        address: socket.address,
        process: owners.get(&socket.inode).cloned(),
        user: user_name(socket.uid),
    };
    // A process may have several sockets on one address (SO_REUSEPORT).
    let distinct: BTreeSet<PortListener> = sockets.into_iter().map(listener).collect();
    distinct.into_iter().collect()
}

/// Returns the user who listens on the TCP port on loopback or on every address, if that is neither this user, nor root,
/// nor `also`, a name or number.
pub fn foreign_listener(port: u16, also: Option<&str>) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    let is_allowed = |uid: u32| {
        uid == own
            || uid == 0
            || also.is_some_and(|it| it == uid.to_string() || it == user_name(uid))
    };
    let receives = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    let mut sockets = sockets::listening_sockets(port).into_iter();
    let foreign = sockets.find(|socket| receives(socket.address) && !is_allowed(socket.uid))?;
    Some(user_name(foreign.uid))
}

// === impl PortListener ===

impl PortListener {
    /// Returns the address and the port that it listens on.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
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
    /// Returns the name, as in JSON.
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

    use super::*;

    #[test]
    fn sockets_of_this_process_are_listed_in_both_protocols() {
        let tcp = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let udp = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        for (address, protocol) in [
            (tcp.local_addr().unwrap(), SocketProtocol::Tcp),
            (udp.local_addr().unwrap(), SocketProtocol::Udp),
        ] {
            let found = port_listeners(Some(address.port()));
            let own = found.iter().find(|listener| listener.protocol == protocol).unwrap();
            assert_eq!(own.socket_address(), address);
            assert_eq!(own.process.as_ref().unwrap().pid, std::process::id());
            assert!(port_listeners(None).contains(own));
        }
    }

    #[test]
    fn listener_text_has_known_details() {
        let hidden = PortListener {
            port: 8080,
            protocol: SocketProtocol::Tcp,
            address: [127, 0, 0, 1].into(),
            process: None,
            user: "ann".to_owned(),
        };
        assert_eq!(hidden.to_string(), "a process of user ann on 127.0.0.1:8080 (tcp)");
        let process = Process { pid: 9, name: "node".into(), user: "ann".into() };
        let known = PortListener { process: Some(process), ..hidden };
        assert_eq!(known.to_string(), "node (pid 9, user ann) on 127.0.0.1:8080 (tcp)");
    }
}

//! The sockets of this network namespace: from sock_diag(7), or from proc_net(5) if the kernel or
//! the container does not provide that.
//!
//! Both list every socket that listens or is connected. Sockets that are only bound are listed by
//! sock_diag since Linux 6.8, and never by proc_net.

mod diag;
mod proc_net;

#[cfg(fuzzing)]
pub use diag::parse_datagram;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use serde::Serialize;

use crate::processes::{Process, socket_owners, user_name};

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// The address that it is bound to; IPv4-mapped IPv6 addresses as IPv4.
    pub address: IpAddr,
    /// The port that it is bound to.
    pub port: u16,
    /// The port of its peer; 0 if it is not connected.
    pub remote_port: u16,
    /// In TCP, whether it accepts connections; in UDP, whether it receives from every peer.
    pub listening: bool,
    /// Whether it is an IPv6 socket without IPv4 (`IPV6_V6ONLY`), as far as the system says.
    pub ipv6_only: bool,
    /// The user that it belongs to.
    pub uid: u32,
    /// The inode that its file descriptors refer to; 0 if no process has one: the connection was not
    /// accepted yet, or is in TIME-WAIT.
    pub inode: u64,
}

/// Which process has a port, as far as the system says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SocketOwner {
    /// The process; `None` if this user may not see it, as with processes of other users.
    pub process: Option<Process>,
    /// The address that its socket is bound to; `None` if the system lists no socket.
    pub address: Option<IpAddr>,
    /// The user whose socket it is; `None` if the system lists no socket.
    pub user: Option<String>,
    /// Whether the socket listens.
    pub listening: bool,
}

/// Which TCP sockets to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    All,
    Listening,
    /// Connected, or in a state after that, such as TIME-WAIT.
    Connected,
    /// Bound, and neither listening nor connected.
    BoundOnly,
}

// === impl SocketOwner ===

impl SocketOwner {
    /// Returns the address of its socket with the port.
    pub fn socket_address(&self, port: u16) -> Option<SocketAddr> {
        self.address.map(|address| SocketAddr::new(address, port))
    }
}

impl fmt::Display for SocketOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.process, &self.user) {
            (Some(process), _) => write!(f, "{process}")?,
            (None, Some(user)) => write!(f, "a process of user {user}")?,
            (None, None) => return f.write_str("a process that the system does not name"),
        }
        match self.address {
            Some(address) if self.listening => write!(f, ", which listens on {address}"),
            Some(address) => write!(f, ", which has a socket on {address}"),
            None => Ok(()),
        }
    }
}

/// Returns the owner of each port, in TCP or else in UDP; of a listening socket if there is one.
/// Ports without a listed socket are left out.
pub fn owners_of_ports(ports: &[u16]) -> HashMap<u16, SocketOwner> {
    let sockets = tcp(Filter::All, None).into_iter().chain(udp());
    owners_by_port(sockets.filter(|socket| ports.contains(&socket.port)))
}

/// Returns the owner of the socket that listens on the TCP port.
pub fn listening_socket_owner(port: u16) -> Option<SocketOwner> {
    owners_by_port(tcp(Filter::Listening, Some(port)).into_iter()).remove(&port)
}

/// Whether TCP connections of an earlier listener are left on the port, such as those in TIME-WAIT.
pub fn has_connections(port: u16) -> bool {
    !tcp(Filter::Connected, Some(port)).is_empty()
}

/// Whether a process has accepted the connection between these two ports of this host. The kernel
/// completes the handshake of a connection before the listening process accepts it.
pub fn is_accepted(port: u16, peer: u16) -> bool {
    let sockets = tcp(Filter::Connected, Some(port));
    sockets.iter().any(|socket| socket.remote_port == peer && socket.inode != 0)
}

/// Returns the user of a process on this host that is connected from the address `from` to the address `to`; `None` if it has closed
/// its socket, or if the system does not say.
pub fn connected_user(from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    diag::connected(plain(from), plain(to)).ok().map(|socket| socket.uid)
}

/// Whether any other socket is bound to the TCP port without listening, as far as the system says.
pub fn is_bound_by_others(port: u16, ours: &[BorrowedFd<'_>]) -> bool {
    let inode = |socket: &BorrowedFd<'_>| rustix::fs::fstat(socket).map(|stat| stat.st_ino);
    let ours: Vec<u64> = ours.iter().filter_map(|socket| inode(socket).ok()).collect();
    tcp(Filter::BoundOnly, Some(port)).iter().any(|socket| !ours.contains(&socket.inode))
}

/// Returns the sockets that listen on the TCP port.
pub fn listening_sockets(port: u16) -> Vec<Socket> {
    tcp(Filter::Listening, Some(port))
}

/// Whether a socket listens on the TCP port.
pub fn has_listener(port: u16) -> bool {
    !tcp(Filter::Listening, Some(port)).is_empty()
}

/// Finds out whether ports have listeners, with one socket to the kernel for many ports.
#[derive(Debug, Default)]
pub struct ListenerProbe {
    kernel: Option<diag::Kernel>,
}

// === impl ListenerProbe ===

impl ListenerProbe {
    /// Whether a socket listens on the TCP port.
    pub fn has_listener(&mut self, port: u16) -> bool {
        let found = match self.kernel.take().map_or_else(diag::Kernel::open, Ok) {
            Ok(mut kernel) => kernel.has_listener(port).inspect(|_| self.kernel = Some(kernel)),
            Err(error) => Err(error),
        };
        found.unwrap_or_else(|_| has_listener(port))
    }
}

/// Whether a socket has the UDP port.
pub fn has_udp_socket(port: u16) -> bool {
    udp().any(|socket| socket.port == port)
}

/// Returns the port and the inode of every listening TCP socket.
pub fn listening_inodes() -> Vec<(u16, u64)> {
    let sockets = tcp(Filter::Listening, None).into_iter();
    sockets.map(|socket| (socket.port, socket.inode)).collect()
}

/// Returns the port and the user of every listening TCP socket.
pub fn listening_users() -> Vec<(u16, u32)> {
    let sockets = tcp(Filter::Listening, None).into_iter();
    sockets.map(|socket| (socket.port, socket.uid)).collect()
}

/// Whether the socket with this inode listens on the TCP port. An error if the system lists no
/// sockets at all, which is not to be taken for "no".
pub fn is_listening(port: u16, inode: u64) -> io::Result<bool> {
    let listening = diag::tcp(Filter::Listening, Some(port)).or_else(|_| {
        proc_net::check_readable()?;
        Ok::<_, io::Error>(proc_net::tcp(Filter::Listening, Some(port)))
    })?;
    Ok(listening.iter().any(|socket| socket.inode == inode))
}

/// Returns the listening sockets of TCP and of UDP.
pub(crate) fn listening() -> (Vec<Socket>, Vec<Socket>) {
    (tcp(Filter::Listening, None), udp().filter(|socket| socket.listening).collect())
}

/// Returns the ports of all TCP sockets.
pub(crate) fn tcp_ports() -> HashSet<u16> {
    tcp(Filter::All, None).into_iter().map(|socket| socket.port).collect()
}

fn owners_by_port(sockets: impl Iterator<Item = Socket>) -> HashMap<u16, SocketOwner> {
    let mut found: HashMap<u16, Socket> = HashMap::new();
    for socket in sockets {
        let known = found.entry(socket.port).or_insert_with(|| socket.clone());
        if socket.listening && !known.listening {
            *known = socket;
        }
    }
    let inodes: Vec<u64> = found.values().map(|socket| socket.inode).collect();
    let owners = socket_owners(&inodes);
    let owner = |socket: Socket| SocketOwner {
        process: owners.get(&socket.inode).cloned(),
        address: Some(socket.address),
        user: Some(user_name(socket.uid)),
        listening: socket.listening,
    };
    found.into_iter().map(|(port, socket)| (port, owner(socket))).collect()
}

fn tcp(filter: Filter, port: Option<u16>) -> Vec<Socket> {
    diag::tcp(filter, port).unwrap_or_else(|_| proc_net::tcp(filter, port))
}

fn udp() -> impl Iterator<Item = Socket> {
    proc_net::udp()
}

#[cfg(test)]
mod tests;

//! The sockets of this host, as the system lists them: on request, or else in proc_net(5),
//! `/proc/net/tcp` and its kin.
//!
//! The lists have every socket that listens or is connected; one that is only bound is told of by
//! newer kernels alone.

mod diag;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::holder::{Process, SocketOwner};
use crate::processes;

/// A socket of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    /// Whether it takes connections; for UDP, whether it takes datagrams from anybody.
    pub(crate) listening: bool,
    pub(crate) uid: u32,
    /// What descriptors of it refer to; 0 where no process has one any more.
    pub(crate) inode: u64,
}

/// Which sockets of TCP are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    Listening,
    /// Or waiting for the end of a connection.
    Connected,
    /// Bound, and neither of the others. Only Linux from 6.8 on lists them, and only on request.
    BoundOnly,
}

/// The process that listens on the port in TCP, on whichever address; none where nobody does, or
/// where the system does not tell. Where several do, it is the one with the lowest id.
pub fn listener_pid(port: u16) -> Option<Process> {
    let inodes: Vec<u64> =
        tcp(Which::Listening, Some(port)).into_iter().map(|socket| socket.inode).collect();
    processes::owners(&inodes).into_values().min_by_key(|process| process.pid)
}

/// Who has each of these ports, in TCP or else in UDP. A port that nobody is seen on is left out.
pub(crate) fn owners_of_ports(ports: &[u16]) -> HashMap<u16, SocketOwner> {
    let all = tcp(Which::All, None).into_iter().chain(udp());
    owners_by_port(all.filter(|socket| ports.contains(&socket.port)))
}

/// Who listens on the port in TCP, whoever it is.
pub(crate) fn listener(port: u16) -> Option<SocketOwner> {
    owners_by_port(tcp(Which::Listening, Some(port)).into_iter()).remove(&port)
}

/// The owner of one socket a port, of one that listens where there is one.
fn owners_by_port(sockets: impl Iterator<Item = Socket>) -> HashMap<u16, SocketOwner> {
    let mut found: HashMap<u16, Socket> = HashMap::new();
    for socket in sockets {
        let known = found.entry(socket.port).or_insert_with(|| socket.clone());
        if socket.listening && !known.listening {
            *known = socket;
        }
    }
    let inodes: Vec<u64> = found.values().map(|socket| socket.inode).collect();
    let owners = processes::owners(&inodes);
    let foreign = |socket: Socket| SocketOwner {
        process: owners.get(&socket.inode).cloned(),
        address: Some(socket.address),
        user: Some(processes::user_name(socket.uid)),
        listening: socket.listening,
    };
    found.into_iter().map(|(port, socket)| (port, foreign(socket))).collect()
}

/// Whether connections of an earlier listener on the port are still about, such as the ones that the
/// system keeps for a minute after their end.
pub(crate) fn has_leftovers(port: u16) -> bool {
    !tcp(Which::Connected, Some(port)).is_empty()
}

/// Whether any socket but these is bound to the port, as far as the system tells.
pub(crate) fn is_bound_beside(port: u16, ours: &[&socket2::Socket]) -> bool {
    let inode = |socket: &&socket2::Socket| rustix::fs::fstat(socket).map(|stat| stat.st_ino);
    let ours: Vec<u64> = ours.iter().filter_map(|socket| inode(socket).ok()).collect();
    tcp(Which::BoundOnly, Some(port)).iter().any(|socket| !ours.contains(&socket.inode))
}

/// Whether somebody listens on the port in TCP.
pub(crate) fn has_listener(port: u16) -> bool {
    !tcp(Which::Listening, Some(port)).is_empty()
}

/// Whether somebody receives on the port in UDP.
pub(crate) fn has_receiver(port: u16) -> bool {
    udp().any(|socket| socket.port == port)
}

/// The inodes of all sockets that listen in TCP, with their ports.
pub(crate) fn listeners() -> Vec<(u16, u64)> {
    let listening = tcp(Which::Listening, None).into_iter();
    listening.map(|socket| (socket.port, socket.inode)).collect()
}

/// Every socket that serves: those of TCP that listen, and those of UDP that take datagrams from
/// anybody.
pub(crate) fn serving() -> (Vec<Socket>, Vec<Socket>) {
    (tcp(Which::Listening, None), udp().filter(|socket| socket.listening).collect())
}

/// The ports of all sockets of TCP, whatever they do.
pub(crate) fn ports_in_use() -> HashSet<u16> {
    tcp(Which::All, None).into_iter().map(|socket| socket.port).collect()
}

/// Whether the socket of this inode listens on the port in TCP.
pub(crate) fn listens(port: u16, inode: u64) -> io::Result<bool> {
    let listening = diag::tcp(Which::Listening, Some(port)).or_else(|_| {
        // Not to be taken for an empty list where it cannot be read at all.
        fs::File::open("/proc/thread-self/net/tcp")?;
        Ok::<_, io::Error>(listed_tcp(Which::Listening, Some(port)))
    })?;
    Ok(listening.iter().any(|socket| socket.inode == inode))
}

fn tcp(which: Which, port: Option<u16>) -> Vec<Socket> {
    // Not every kernel and every container has it.
    diag::tcp(which, port).unwrap_or_else(|_| listed_tcp(which, port))
}

fn listed_tcp(which: Which, port: Option<u16>) -> Vec<Socket> {
    let wanted = |socket: &Socket| {
        let of_its_kind = match which {
            Which::All => true,
            Which::Listening => socket.listening,
            Which::Connected => !socket.listening,
            Which::BoundOnly => false,
        };
        of_its_kind && port.is_none_or(|port| port == socket.port)
    };
    list("tcp", "0A").chain(list("tcp6", "0A")).filter(wanted).collect()
}

fn udp() -> impl Iterator<Item = Socket> {
    list("udp", "07").chain(list("udp6", "07"))
}

/// A list that cannot be read is empty: IPv6 may be off, or /proc hidden.
fn list(name: &str, listening: &'static str) -> impl Iterator<Item = Socket> + use<> {
    // `thread-self`, because a thread may have moved to another network namespace.
    let text = fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let sockets: Vec<Socket> =
        text.lines().skip(1).filter_map(|line| parse(line, listening)).collect();
    sockets.into_iter()
}

fn parse(line: &str, listening: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    Some(Socket {
        address: parse_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        listening: *fields.get(3)? == listening,
        uid: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// An address is written as words in the order of this machine, eight digits each.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

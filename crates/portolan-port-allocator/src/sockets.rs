//! The sockets of this host, as the system lists them (proc_net(5), `/proc/net/tcp` and its kin).
//!
//! The list has every socket that listens or is connected; one that is only bound is not in it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::holder::{Process, Stranger};
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

/// The process that listens on the port in TCP, on whichever address; none where nobody does, or
/// where the system does not tell. Where several do, it is the one with the lowest id.
pub fn listener_pid(port: u16) -> Option<Process> {
    let listening = |socket: &Socket| socket.port == port && socket.listening;
    let inodes: Vec<u64> = tcp().filter(listening).map(|socket| socket.inode).collect();
    processes::owners(&inodes).into_values().min_by_key(|process| process.pid)
}

/// Who has each of these ports, in TCP or else in UDP. A port that nobody is seen on is left out.
pub(crate) fn strangers(ports: &[u16]) -> HashMap<u16, Stranger> {
    let mut found: HashMap<u16, Socket> = HashMap::new();
    for socket in tcp().chain(udp()).filter(|socket| ports.contains(&socket.port)) {
        let known = found.entry(socket.port).or_insert_with(|| socket.clone());
        if socket.listening && !known.listening {
            *known = socket;
        }
    }
    let inodes: Vec<u64> = found.values().map(|socket| socket.inode).collect();
    let owners = processes::owners(&inodes);
    let stranger = |socket: Socket| Stranger {
        process: owners.get(&socket.inode).cloned(),
        address: Some(socket.address),
        user: Some(processes::user_name(socket.uid)),
        listening: socket.listening,
    };
    found.into_iter().map(|(port, socket)| (port, stranger(socket))).collect()
}

/// Whether connections of an earlier listener on the port are still about, such as the ones that the
/// system keeps for a minute after their end.
pub(crate) fn has_leftovers(port: u16) -> bool {
    tcp().any(|socket| socket.port == port && !socket.listening)
}

/// The ports that somebody listens on, or has a connection on, in either protocol.
pub(crate) fn ports_in_use() -> HashSet<u16> {
    tcp().chain(udp()).map(|socket| socket.port).collect()
}

/// The inodes of all sockets that listen in TCP, with their ports.
pub(crate) fn listeners() -> Vec<(u16, u64)> {
    tcp().filter(|socket| socket.listening).map(|socket| (socket.port, socket.inode)).collect()
}

fn tcp() -> impl Iterator<Item = Socket> {
    list("tcp", "0A").chain(list("tcp6", "0A"))
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

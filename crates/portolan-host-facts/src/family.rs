//! A program with the processes that it started, and whether the listeners on a port belong to it.
//!
//! A listener belongs to the program if a process of the program has its socket open. `/proc` does not show the
//! sockets of a process with another user, or of every process in a container without `CAP_SYS_PTRACE`. Then the
//! user of the socket decides, which sock_diag(7) tells of every socket: it must be one of those processes of the
//! program whose sockets are hidden. Whatever remains unknown is foreign.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use crate::processes::{
    Process, ProcessStat, are_descriptors_visible, process_and_known_descendants, process_ids,
    socket_holders, user_ids, user_name,
};
use crate::sockets::{Socket, listening_inodes, listening_sockets};

/// The maximum number of ancestors that are examined. It bounds the search if process ids are
/// reused meanwhile.
const MAX_ANCESTORS: usize = 64;

/// A program: a process, those of its process group and all that descend from it.
#[derive(Debug, Clone, Copy)]
pub struct ProcessFamily {
    root: u32,
    group: Option<u32>,
    /// When the program started, in clock ticks since boot.
    since: u64,
}

/// The owner of a listener that does not belong to a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignListener {
    /// A visible process.
    Process(Process),
    /// A process of this user that the system does not show: its name, or its id if it has none.
    OfUser(String),
}

/// The listeners on a TCP port.
#[derive(Debug, Clone, Default)]
pub struct PortListeners {
    /// Those of the program.
    pub own: Vec<Socket>,
    /// The first one that does not belong to it.
    pub foreign: Option<ForeignListener>,
}

/// Which processes and users may listen on behalf of a program without being part of it.
#[derive(Clone, Copy)]
pub struct Deputies<'a> {
    /// Whether the process may.
    pub includes: &'a dyn Fn(&Process) -> bool,
    /// Whether a process that the system does not show may, if it belongs to root or to this user.
    pub hidden: bool,
}

// === impl ProcessFamily ===

impl ProcessFamily {
    /// Returns the family of the process; that of a process which has ended has no members.
    pub fn of(root: u32) -> Self {
        let stat = ProcessStat::read(root);
        let since = stat.map_or(u64::MAX, |stat| stat.start_time);
        Self { root, group: stat.and_then(|stat| stat.group), since }
    }

    /// Returns the listeners on the TCP port.
    pub fn listeners_on(&self, port: u16, deputies: Deputies<'_>) -> PortListeners {
        let sockets = listening_sockets(port);
        let inodes: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
        let holders = self.holders(&inodes);
        let mut found = PortListeners::default();
        let mut hidden_users = None;
        for socket in sockets {
            match self.stranger(&socket, &holders, deputies, &mut hidden_users) {
                None => found.own.push(socket),
                Some(stranger) => found.foreign = found.foreign.or(Some(stranger)),
            }
        }
        found
    }

    /// Returns the TCP ports on which the program listens, in order, as far as this user may see its sockets.
    pub fn listening_ports(&self) -> Vec<u16> {
        let sockets = listening_inodes();
        let inodes: HashSet<u64> = sockets.iter().map(|(_, inode)| *inode).collect();
        let own = socket_holders(self.known_members(), &inodes);
        let ports = sockets.iter().filter(|(_, inode)| own.contains_key(inode));
        let ports: BTreeSet<u16> = ports.map(|(port, _)| *port).collect();
        ports.into_iter().collect()
    }

    fn known_members(&self) -> impl Iterator<Item = u32> {
        process_and_known_descendants(self.root).into_iter().filter(|pid| self.has(*pid))
    }

    /// Returns the processes that have the sockets open. Those outside the family are not looked for if it has all of them: a host has
    /// many processes, and a program is usually the only one on its port.
    fn holders(&self, inodes: &HashSet<u64>) -> HashMap<u64, Vec<u32>> {
        let own = socket_holders(self.known_members(), inodes);
        if own.len() == inodes.len() { own } else { socket_holders(process_ids(), inodes) }
    }

    fn stranger(
        &self,
        socket: &Socket,
        holders: &HashMap<u64, Vec<u32>>,
        deputies: Deputies<'_>,
        hidden_users: &mut Option<HashSet<u32>>,
    ) -> Option<ForeignListener> {
        let holders = holders.get(&socket.inode).map(Vec::as_slice).unwrap_or_default();
        if holders.iter().any(|pid| self.has(*pid)) {
            return None;
        }
        let visible = holders.iter().min().map(|pid| Process::read(*pid));
        if let Some(process) = visible {
            let is_deputy = (deputies.includes)(&process);
            return (!is_deputy).then_some(ForeignListener::Process(process));
        }
        let own = rustix::process::geteuid().as_raw();
        let is_deputy = deputies.hidden && [0, own].contains(&socket.uid);
        let mut is_hidden_member =
            || hidden_users.get_or_insert_with(|| self.hidden_users()).contains(&socket.uid);
        let is_own = is_deputy || is_hidden_member();
        (!is_own).then(|| ForeignListener::OfUser(user_name(socket.uid)))
    }

    /// The users of members whose sockets the system does not show. A member can have made its socket before it
    /// changed its user, so that ours, as which it was started, is one of them.
    fn hidden_users(&self) -> HashSet<u32> {
        let mut users: HashSet<u32> = process_ids()
            .filter(|pid| self.has(*pid) && is_running(*pid) && !are_descriptors_visible(*pid))
            .flat_map(user_ids)
            .collect();
        if !users.is_empty() {
            users.insert(rustix::process::geteuid().as_raw());
        }
        users
    }

    /// Whether the process is the program, is in its group, or descends from it.
    fn has(&self, pid: u32) -> bool {
        let mut next = Some(pid);
        for _ in 0..MAX_ANCESTORS {
            let Some(id) = next else { return false };
            let Some(stat) = ProcessStat::read(id) else { return false };
            if id == self.root {
                return stat.start_time == self.since;
            }
            // The group can be that of a script with other programs, which started them before.
            if stat.group.is_some() && stat.group == self.group && stat.start_time >= self.since {
                return true;
            }
            next = stat.parent;
        }
        false
    }
}

fn is_running(pid: u32) -> bool {
    ProcessStat::read(pid).is_some_and(|stat| stat.is_running())
}

// === impl Deputies ===

impl Deputies<'static> {
    /// No process: the program listens itself.
    pub const NONE: Self = Self { includes: &|_| false, hidden: false };
}

impl fmt::Debug for Deputies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deputies").field("hidden", &self.hidden).finish_non_exhaustive()
    }
}

// === impl ForeignListener ===

impl fmt::Display for ForeignListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(process) => process.fmt(f),
            Self::OfUser(user) => write!(f, "of user {user}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;

    /// A family without a group.
    fn of(root: u32) -> ProcessFamily {
        ProcessFamily { group: None, ..ProcessFamily::of(root) }
    }

    #[test]
    fn listener_belongs_to_the_ancestors_of_its_process_only() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = std::process::id();
        for root in [own, std::os::unix::process::parent_id()] {
            let found = of(root).listeners_on(port, Deputies::NONE);
            assert_eq!((found.own.len(), found.foreign), (1, None), "{root}");
        }
        let mut other = Command::new("sleep").arg("100").spawn().unwrap();
        let family = of(other.id());
        let found = family.listeners_on(port, Deputies::NONE);
        assert!(of(own).listening_ports().contains(&port));
        assert_eq!(family.listening_ports(), [0_u16; 0]);
        let is_this =
            |it: &ForeignListener| matches!(it, ForeignListener::Process(it) if it.pid == own);
        assert!(found.own.is_empty() && found.foreign.as_ref().is_some_and(is_this), "{found:?}");
        let any = Deputies { includes: &|_| true, hidden: false };
        assert_eq!(family.listeners_on(port, any).foreign, None);
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(!family.has(other.id()), "it has ended");
    }

    #[test]
    fn member_of_the_group_that_started_before_is_not_of_the_program() {
        let own = ProcessStat::read(std::process::id()).unwrap();
        let family = |since| ProcessFamily { root: u32::MAX, group: own.group, since };
        assert!(family(own.start_time).has(std::process::id()));
        assert!(!family(own.start_time + 1).has(std::process::id()));
    }

    #[test]
    fn hidden_listener_of_another_user_is_named_by_its_user() {
        let user = ForeignListener::OfUser("bob".to_owned());
        assert_eq!(user.to_string(), "of user bob");
        let socket = Socket {
            address: [127, 0, 0, 1].into(),
            port: 1,
            remote_port: 0,
            listening: true,
            ipv6_only: false,
            uid: 4_000_000_123,
            inode: 1,
        };
        let asked = |users: &[u32], hidden| {
            let deputies = Deputies { hidden, ..Deputies::NONE };
            let mut users = Some(users.iter().copied().collect());
            of(std::process::id()).stranger(&socket, &HashMap::new(), deputies, &mut users)
        };
        let stranger = Some(ForeignListener::OfUser("4000000123".to_owned()));
        assert_eq!(asked(&[], false), stranger);
        assert_eq!(asked(&[0, 1], true), stranger, "neither root's nor ours");
        assert_eq!(asked(&[4_000_000_123], false), None);
    }
}

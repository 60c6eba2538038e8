//! Processes and users, from `/proc` and `/etc/passwd`.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::io::ErrorKind::PermissionDenied;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::files;

/// Of how many processes [`process_and_known_descendants`] looks for children.
const MAX_KNOWN: usize = 64;

mod descendants;
mod environment;
mod stat;

pub use descendants::descendants;
pub use environment::{processes_with, variable_of};
pub use stat::ProcessStat;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name as in `/proc/PID/comm`; empty if the process is gone.
    pub name: String,
    /// The name of the user that runs it; the user id if the user has no name.
    pub user: String,
}

// === impl Process ===

impl Process {
    /// Reads the name and the user of a process.
    pub fn read(pid: u32) -> Self {
        let name = files::read(&format!("/proc/{pid}/comm")).trim_end().to_owned();
        let user = fs::metadata(format!("/proc/{pid}")).map(|entry| user_name(entry.uid()));
        Self { pid, name, user: user.unwrap_or_default() }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}, user {})", self.name, self.pid, self.user)
    }
}

/// Returns the process of each socket, by the socket's inode, as far as this user may see it. If
/// several processes share a socket, it is the one with the lowest id, which is usually the oldest.
pub fn socket_owners(inodes: &[u64]) -> HashMap<u64, Process> {
    let mut owners = HashMap::new();
    if inodes.is_empty() {
        return owners;
    }
    let mut pids: Vec<u32> = process_ids().collect();
    pids.sort_unstable();
    for pid in pids {
        for inode in socket_inodes(pid).filter(|inode| inodes.contains(inode)) {
            owners.entry(inode).or_insert_with(|| Process::read(pid));
        }
    }
    owners
}

/// Returns which of these processes have each socket open, by the socket's inode, as far as this user may see it.
pub(crate) fn socket_holders(
    pids: impl IntoIterator<Item = u32>,
    inodes: &HashSet<u64>,
) -> HashMap<u64, Vec<u32>> {
    let mut holders: HashMap<u64, Vec<u32>> = HashMap::new();
    for pid in pids.into_iter().filter(|_| !inodes.is_empty()) {
        for inode in socket_inodes(pid).filter(|inode| inodes.contains(inode)) {
            holders.entry(inode).or_default().push(pid);
        }
    }
    holders
}

/// Whether this user may see the descriptors of the process.
pub(crate) fn are_descriptors_visible(pid: u32) -> bool {
    let Ok(mut entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    // With some capabilities the numbers are visible, and what they refer to is not.
    let first = entries.next().and_then(Result::ok).map(|entry| fs::read_link(entry.path()));
    !first.is_some_and(|target| target.is_err_and(|error| error.kind() == PermissionDenied))
}

/// Returns the real, effective, saved and file system user of a process (proc_pid_status(5)); none if it is hidden.
pub fn user_ids(pid: u32) -> Vec<u32> {
    parse_user_ids(&files::read(&format!("/proc/{pid}/status")))
}

/// Whether a process of the group runs. Zombies do not count: their parent may never wait for them.
pub fn is_group_running(group: u32) -> bool {
    process_ids()
        .filter_map(ProcessStat::read)
        .any(|stat| stat.group == Some(group) && stat.is_running())
}

/// Returns the processes that the main thread of a process has started; none if the kernel does not tell
/// (CONFIG_PROC_CHILDREN).
pub fn child_processes(pid: u32) -> Vec<u32> {
    children_of_thread(pid, &pid.to_string())
}

fn children_of_thread(pid: u32, thread: &str) -> Vec<u32> {
    let children = files::read(&format!("/proc/{pid}/task/{thread}/children"));
    children.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Returns a process and some of those that descend from it, by what the kernel tells of each: far cheaper than looking at every process
/// of the host, but a process that starts or ends meanwhile may be missing.
pub(crate) fn process_and_known_descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied().filter(|_| next < MAX_KNOWN) {
        for thread in file_names(&format!("/proc/{pid}/task")) {
            let mut children = children_of_thread(pid, &thread);
            children.retain(|child| !found.contains(child));
            found.extend(children);
        }
        next += 1;
    }
    found
}

/// Returns the name of the file that the process executes. The process's own name is `exe` if the
/// program started itself again through `/proc/self/exe`; this name is not.
pub fn executable_name(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    path.file_name()?.to_str().map(str::to_owned)
}

/// Returns the signals that this process ignores, signal 1 in the lowest bit (proc_pid_status(5),
/// `SigIgn`).
pub fn ignored_signals() -> u64 {
    parse_ignored_signals(&files::read("/proc/self/status"))
}

/// Returns the name of a user, or the id if the user has none.
pub fn user_name(uid: u32) -> String {
    find_user(&files::read("/etc/passwd"), uid).unwrap_or_else(|| uid.to_string())
}

pub(crate) fn process_ids() -> impl Iterator<Item = u32> {
    file_names("/proc").filter_map(|name| name.parse().ok())
}

fn socket_inodes(pid: u32) -> impl Iterator<Item = u64> {
    let directory = format!("/proc/{pid}/fd");
    file_names(&directory).filter_map(move |name| {
        let target = fs::read_link(Path::new(&directory).join(name)).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// None if the directory is gone or belongs to another user.
fn file_names(directory: &str) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn parse_ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

fn parse_user_ids(status: &str) -> Vec<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    ids.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Finds a user in the format of passwd(5).
fn find_user(passwd: &str, uid: u32) -> Option<String> {
    fields_of_user(passwd, uid)?.next().map(str::to_owned)
}

/// Returns the home directory of a user in `/etc/passwd`.
pub(crate) fn home_in_passwd(uid: u32) -> Option<PathBuf> {
    let passwd = files::read("/etc/passwd");
    let home = fields_of_user(&passwd, uid)?.nth(5).map(PathBuf::from);
    home.filter(|home| home.is_absolute())
}

/// Whether the group is the private one of the user, which has the user's name and no other member, as systems
/// create it for each user.
pub fn is_private_group(gid: u32, uid: u32) -> bool {
    let user = user_name(uid);
    is_private_group_in(&files::read("/etc/group"), gid, &user)
}

/// Looks in the format of group(5).
fn is_private_group_in(groups: &str, gid: u32, user: &str) -> bool {
    let gid = gid.to_string();
    groups.lines().any(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        matches!(fields[..], [name, _, id, members]
            if id == gid && name == user && members.split(',').all(|it| it.is_empty() || it == user))
    })
}

fn fields_of_user(passwd: &str, uid: u32) -> Option<std::str::Split<'_, char>> {
    let uid = uid.to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
    Some(line.split(':'))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn this_process_has_a_name_and_a_user() {
        let own = Process::read(std::process::id());
        assert!(!own.name.is_empty() && !own.user.is_empty(), "{own}");
        assert!(executable_name(own.pid).is_some_and(|name| !name.is_empty()));
        let missing = Process { pid: u32::MAX, name: String::new(), user: String::new() };
        assert_eq!(Process::read(u32::MAX), missing);
    }

    #[test]
    fn child_of_a_process_is_found() {
        let mut shell = std::process::Command::new("sh");
        let mut shell =
            shell.args(["-c", "read line"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        // It is the child of the thread that has started it.
        assert!(child_processes(shell.id()).is_empty());
        let parent = std::process::Command::new("sh")
            .args(["-c", "cat /proc/$$/task/$$/children"])
            .output()
            .unwrap();
        assert!(!parent.stdout.is_empty(), "the kernel tells");
        // A child of any thread of this process.
        let own = std::process::id();
        assert!(process_and_known_descendants(own).contains(&shell.id()));
        assert_eq!(process_and_known_descendants(shell.id()), [shell.id()]);
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(child_processes(u32::MAX).is_empty());
    }

    #[test]
    fn user_without_name_is_shown_as_id() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_000_000_123), "4000000123");
        assert_eq!(find_user("ann:x:10:10::/home/ann:/bin/sh\n:::\nbob", 10).unwrap(), "ann");
    }

    #[test]
    fn private_group_has_the_name_of_its_user_and_no_other_member() {
        let groups = "root:x:0:\nann:x:10:\nbob:x:11:bob\neve:x:12:eve,ann\nstaff:x:13:\nbroken";
        let is_private = |gid, user| is_private_group_in(groups, gid, user);
        assert!(is_private(10, "ann") && is_private(11, "bob"));
        assert!(!is_private(12, "eve") && !is_private(13, "ann") && !is_private(14, "ann"));
    }

    #[test]
    fn users_of_a_process_are_read_from_its_status() {
        assert_eq!(parse_user_ids("Name:\tsh\nUid:\t0\t7\t8\t9\nGid:\t1\n"), [0, 7, 8, 9]);
        assert_eq!(parse_user_ids("Uid:\tx"), [0_u32; 0]);
        assert!(user_ids(std::process::id()).contains(&rustix::process::geteuid().as_raw()));
        assert!(are_descriptors_visible(std::process::id()) && !are_descriptors_visible(u32::MAX));
    }

    #[test]
    fn home_of_root_is_known() {
        assert_eq!(home_in_passwd(0), Some("/root".into()));
        assert_eq!(home_in_passwd(4_000_000_123), None);
    }

    #[test]
    fn socket_owner_is_found() {
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let inode = fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap().ino();
        let owners = socket_owners(&[inode, 1]);
        assert_eq!(owners[&inode].pid, std::process::id());
        assert_eq!(owners.len(), 1);
    }

    #[test]
    fn zombie_does_not_keep_its_group_running() {
        use std::os::unix::process::CommandExt;
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        assert!(is_group_running(child.id()));
        drop(child.stdin.take());
        while ProcessStat::read(child.id()).is_some_and(|stat| stat.is_running()) {
            std::thread::yield_now();
        }
        assert!(!is_group_running(child.id()), "it has ended and was not waited for");
        child.wait().unwrap();
    }

    #[test]
    fn ignored_signals_are_a_mask() {
        assert_eq!(parse_ignored_signals("Name:\tx\nSigIgn:\t0000000000001001\n"), 0x1001);
        assert_eq!(parse_ignored_signals("SigIgn:\tnone"), 0);
    }
}

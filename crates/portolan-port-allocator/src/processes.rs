//! Processes and users, as the system lists them. Only ever read to tell people who has a port:
//! whether a lease is in force does not depend on what stands here.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::holder::Process;

/// The process of each of these sockets, by inode, as far as this user may see it. Where several
/// processes share a socket it is the one with the lowest id, which is mostly the eldest.
pub(crate) fn owners(inodes: &[u64]) -> HashMap<u64, Process> {
    let mut owners = HashMap::new();
    if inodes.is_empty() {
        return owners;
    }
    let mut pids: Vec<u32> = entries("/proc").filter_map(|name| name.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        for inode in sockets_of(pid).filter(|inode| inodes.contains(inode)) {
            owners.entry(inode).or_insert_with(|| process(pid));
        }
    }
    owners
}

/// What the system tells of a process.
pub(crate) fn process(pid: u32) -> Process {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let uid = fs::metadata(format!("/proc/{pid}"))
        .map(|entry| std::os::unix::fs::MetadataExt::uid(&entry));
    Process { pid, name: name.trim_end().to_owned(), user: uid.map(user_name).unwrap_or_default() }
}

/// When a process began, in the system's ticks; none where there is no such process. Together with
/// the id this tells a process from a later one with the same id (proc_pid_stat(5), field 22).
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, so the fields are counted after it.
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// The name of a user; the number where there is none.
pub(crate) fn user_name(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of_uid = |line: &&str| line.split(':').nth(2) == Some(uid.to_string().as_str());
    let name = users.lines().find(of_uid).and_then(|line| line.split(':').next());
    name.map_or_else(|| uid.to_string(), str::to_owned)
}

fn sockets_of(pid: u32) -> impl Iterator<Item = u64> {
    let folder = format!("/proc/{pid}/fd");
    entries(&folder).filter_map(move |name| {
        let target = fs::read_link(Path::new(&folder).join(name)).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// The names in a folder of /proc; none where it is gone or not ours to see.
fn entries(folder: &str) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_told_from_one_that_is_not_there() {
        let own = std::process::id();
        assert!(start_time(own).is_some_and(|ticks| ticks > 0));
        assert_eq!(start_time(u32::MAX), None);
        assert_eq!(process(u32::MAX).name, "");
        assert!(!process(own).name.is_empty());
    }

    #[test]
    fn a_user_without_a_name_is_a_number() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_000_000_123), "4000000123");
    }

    #[test]
    fn the_owner_of_a_socket_is_found() {
        use std::os::unix::fs::MetadataExt;
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let inode = fs::metadata(format!("/proc/self/fd/{descriptor}")).unwrap().ino();
        let owners = owners(&[inode, 1]);
        assert_eq!(owners[&inode].pid, std::process::id());
        assert_eq!(owners.len(), 1);
    }
}

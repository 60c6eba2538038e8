//! The processes that descend from a process.

use std::collections::{HashMap, HashSet};

use super::{ProcessStat, process_ids};

/// Returns the running processes that descend from a process, with their states. A process whose parent has ended descends from
/// the next subreaper (PR_SET_CHILD_SUBREAPER(2const)).
pub fn descendants(pid: u32) -> Vec<(u32, ProcessStat)> {
    let mut children: HashMap<u32, Vec<(u32, ProcessStat)>> = HashMap::new();
    for id in process_ids() {
        let Some(stat) = ProcessStat::read(id) else { continue };
        if let Some(parent) = stat.parent {
            children.entry(parent).or_default().push((id, stat));
        }
    }
    let (mut found, mut seen, mut open) = (Vec::new(), HashSet::from([pid]), vec![pid]);
    while let Some(parent) = open.pop() {
        for (id, stat) in children.remove(&parent).unwrap_or_default() {
            if seen.insert(id) {
                open.push(id);
                found.push((id, stat));
            }
        }
    }
    found.retain(|(_, stat)| stat.is_running());
    found
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn grandchild_in_a_session_of_its_own_is_a_descendant() {
        let script = "setsid sh -c 'echo $$; exec sleep 1000' & wait";
        let mut shell =
            Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let found: Vec<u32> = descendants(shell.id()).into_iter().map(|(pid, _)| pid).collect();
        assert!(found.contains(&grandchild), "{found:?}");
        assert!(!found.contains(&shell.id()));
        let pid = rustix::process::Pid::from_raw(grandchild.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        shell.wait().unwrap();
        assert!(descendants(shell.id()).is_empty());
    }
}

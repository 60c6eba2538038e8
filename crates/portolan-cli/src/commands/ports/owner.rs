//! The default owner of a lease of `ports alloc`.
//!
//! A shell forks subshells, as for `$(portolan ports alloc api | cat)`, which end at once. The owner
//! is therefore the nearest ancestor that is not a fork of its parent, but was started by execve(2).

use std::fs;

/// The maximum number of nested subshells.
const MAX_SUBSHELLS: usize = 16;

/// The fields of proc_pid_stat(5) that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    pid: u32,
    parent: u32,
    /// The address of the bottom of the stack, which execve(2) changes and fork(2) does not; 0 if
    /// it is not permitted to read it.
    stack: u64,
}

/// Returns the process that owns a lease taken by this process.
pub(super) fn owner() -> u32 {
    let caller = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
    nearest_program(caller.cast_unsigned(), stat)
}

fn nearest_program(caller: u32, stat: impl Fn(u32) -> Option<Stat>) -> u32 {
    let mut owner = caller;
    for _ in 0..MAX_SUBSHELLS {
        let Some(own) = stat(owner).filter(|own| own.stack != 0) else { break };
        match stat(own.parent) {
            Some(parent) if parent.stack == own.stack => owner = parent.pid,
            _ => break,
        }
    }
    owner
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, pid)
}

fn parse(text: &str, pid: u32) -> Option<Stat> {
    // The name is in parentheses and may contain any character, so fields are counted after it:
    // ppid is field 4, startstack is field 28.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat { pid, parent: fields.get(1)?.parse().ok()?, stack: fields.get(25)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_among(processes: &[(u32, u32, u64)], caller: u32) -> u32 {
        nearest_program(caller, |pid| {
            let (pid, parent, stack) = *processes.iter().find(|process| process.0 == pid)?;
            Some(Stat { pid, parent, stack })
        })
    }

    #[test]
    fn owner_of_a_subshell_is_the_shell() {
        let processes = [(1, 0, 10), (2, 1, 20), (3, 2, 20), (4, 3, 20)];
        assert_eq!(owner_among(&processes, 4), 2);
        assert_eq!(owner_among(&processes, 2), 2);
    }

    #[test]
    fn unreadable_process_is_not_a_subshell() {
        assert_eq!(owner_among(&[(2, 1, 0), (1, 0, 0)], 2), 2);
        assert_eq!(owner_among(&[], 7), 7);
    }

    #[test]
    fn started_program_has_another_stack_than_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (own, child_stat) = (stat(std::process::id()).unwrap(), stat(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(child_stat.parent, own.pid);
        assert_ne!(child_stat.stack, own.stack);
    }
}

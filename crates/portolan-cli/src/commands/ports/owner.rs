//! For whom a lease of `ports alloc` is held, where nobody says.
//!
//! A shell starts parts of a script in copies of itself, `$(portolan ports alloc api | cat)` among
//! them, and such a copy is gone as soon as its part is done. So the lease is the shell's: the
//! nearest process above us that is a program in its own right, and no mere fork of its parent.

use std::fs;

/// How many copies of copies we look through; a script has no more.
const MOST: usize = 16;

/// What the system tells of a process (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    pid: u32,
    parent: u32,
    /// The bottom of its stack, which is another one after each exec and the same after a fork. 0
    /// where we may not see it.
    stack: u64,
}

/// The process that holds a lease taken by this one.
pub(super) fn owner() -> u32 {
    let caller = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
    program_of(caller.cast_unsigned(), stat)
}

fn program_of(caller: u32, stat: impl Fn(u32) -> Option<Stat>) -> u32 {
    let mut owner = caller;
    for _ in 0..MOST {
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
    // The name stands in parentheses and may hold anything, so the fields are counted after it:
    // the parent's id is the fourth of all, the stack's start the 28th.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat { pid, parent: fields.get(1)?.parse().ok()?, stack: fields.get(25)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_among(processes: &[(u32, u32, u64)], caller: u32) -> u32 {
        program_of(caller, |pid| {
            let (pid, parent, stack) = *processes.iter().find(|process| process.0 == pid)?;
            Some(Stat { pid, parent, stack })
        })
    }

    #[test]
    fn a_copy_of_the_shell_stands_for_the_shell() {
        let processes = [(1, 0, 10), (2, 1, 20), (3, 2, 20), (4, 3, 20)];
        assert_eq!(owner_among(&processes, 4), 2);
        assert_eq!(owner_among(&processes, 2), 2);
    }

    #[test]
    fn what_cannot_be_seen_is_no_copy() {
        assert_eq!(owner_among(&[(2, 1, 0), (1, 0, 0)], 2), 2);
        assert_eq!(owner_among(&[], 7), 7);
    }

    #[test]
    fn a_program_of_its_own_is_told_from_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (own, child_stat) = (stat(std::process::id()).unwrap(), stat(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(child_stat.parent, own.pid);
        assert_ne!(child_stat.stack, own.stack);
    }
}
